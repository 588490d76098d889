package main

import (
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// reasonSignedOut is what the streams of a person who signs out are told. Being
// the application's own, it tells the client not to come back.
const reasonSignedOut ginsse.Reason = "signed out"

// credentials are what a person signs in and up with.
type credentials struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

const (
	minPasswordBytes = 8
	maxPasswordBytes = 256
)

func (a *app) signIn(c *gin.Context) {
	var given credentials
	if err := readJSON(c, &given); err != nil {
		fail(c, err)
		return
	}
	ctx, who := c.Request.Context(), newClaimant(c.ClientIP(), given.Name)
	var right bool
	found, err := a.store.AccountNamed(ctx, given.Name)
	switch {
	case errors.Is(err, errNoSuchUser), err == nil && !a.sessions.mayEnter(found):
		right, err = a.passwords.matchesNobody(ctx, who, given.Password)
	case err == nil:
		right, err = a.passwords.matches(ctx, who, given.Password, found.PasswordHash)
	}
	if err == nil && !right {
		err = errWrongLogin
	}
	if err != nil {
		fail(c, err)
		return
	}
	a.answerWithSession(c, http.StatusOK, found.ID)
}

func (a *app) signUp(c *gin.Context) {
	var given credentials
	if err := readJSON(c, &given); err != nil {
		fail(c, err)
		return
	}
	if !validName.MatchString(given.Name) {
		fail(c, invalid("name is not 1 to 32 letters, digits, _ or -, the first a letter or a digit"))
		return
	}
	if strings.ContainsRune(given.Password, utf8.RuneError) { // an escape that stood for nothing
		fail(c, invalid("password holds a character that is none"))
		return
	}
	if n := len(given.Password); n < minPasswordBytes || n > maxPasswordBytes {
		fail(c, invalid("password is not %d to %d bytes", minPasswordBytes, maxPasswordBytes))
		return
	}
	ctx := c.Request.Context()
	hash, err := a.passwords.hash(ctx, newClaimant(c.ClientIP(), given.Name), given.Password)
	if err != nil {
		fail(c, err)
		return
	}
	created, err := a.store.AddAccount(ctx, given.Name, hash)
	if err != nil {
		fail(c, err)
		return
	}
	a.answerWithSession(c, http.StatusCreated, created.ID)
}

// answerWithSession answers with a new session, in the body and in the cookie.
func (a *app) answerWithSession(c *gin.Context, status int, userID string) {
	given, err := a.sessions.issue(c.Request.Context(), userID)
	if err != nil {
		fail(c, err)
		return
	}
	a.sessions.setCookie(c, given)
	c.JSON(status, given)
}

// signOut ends all sessions of the person, on all devices, and their streams. In
// this order: a browser's EventSource may come back, and is then refused.
func (a *app) signOut(c *gin.Context) {
	id := ginsse.UserID(c)
	if err := a.store.EndSessions(c.Request.Context(), id, ginsse.Expiry(c), a.sessions.lifetime); err != nil {
		fail(c, err)
		return
	}
	ctx, cancel := toSend(c)
	defer cancel()
	switch _, err := a.registry.Disconnect(ctx, id, reasonSignedOut); {
	case errors.Is(err, ginsse.ErrPending): // the sessions have ended; the registry sees to the streams elsewhere
		a.logger.LogAttrs(ctx, slog.LevelWarn, "signing out", slog.Any("error", err))
	case err != nil:
		fail(c, err)
		return
	}
	a.sessions.clearCookie(c)
	c.Status(http.StatusNoContent)
}

// getSession answers with the signed-in user, or null. The page uses it instead of /api/me,
// whose 401 would be an error in the console of each new visitor.
func (a *app) getSession(c *gin.Context) {
	who, err := a.sessions.current(c)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"user": who})
}

func (a *app) me(c *gin.Context) {
	c.JSON(http.StatusOK, gin.H{"user": person(c)})
}
