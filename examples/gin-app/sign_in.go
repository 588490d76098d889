package main

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
)

// credentials is the body of requests to sign in and to sign up.
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
	ctx, from := c.Request.Context(), newRequester(c.ClientIP(), given.Name)
	var right bool
	found, err := a.store.AccountNamed(ctx, given.Name)
	switch {
	case errors.Is(err, errNoSuchUser), err == nil && !a.sessions.canSignIn(found):
		right, err = a.passwords.matchesDecoy(ctx, from, given.Password)
	case err == nil:
		right, err = a.passwords.matches(ctx, from, given.Password, found.PasswordHash)
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
		fail(c, invalid("name must be 1 to 32 letters, digits, _ or -, and begin with a letter or a digit"))
		return
	}
	if strings.ContainsRune(given.Password, utf8.RuneError) { // from an invalid escape such as \ud800
		fail(c, invalid("password has an invalid character"))
		return
	}
	if n := len(given.Password); n < minPasswordBytes || n > maxPasswordBytes {
		fail(c, invalid("password must have %d to %d bytes", minPasswordBytes, maxPasswordBytes))
		return
	}
	ctx := c.Request.Context()
	hash, err := a.passwords.hash(ctx, newRequester(c.ClientIP(), given.Name), given.Password)
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

// answerWithSession starts a session. Its token is in the body, for programs, and in the
// cookie, for browsers.
func (a *app) answerWithSession(c *gin.Context, status int, userID string) {
	given, err := a.sessions.issue(c.Request.Context(), userID)
	if err != nil {
		fail(c, err)
		return
	}
	a.sessions.setCookie(c, given)
	c.JSON(status, given)
}

// getSession answers with the signed-in user, or null. The page uses it instead of /api/me:
// a 401 of /api/me would be an error in the console of each new visitor.
func (a *app) getSession(c *gin.Context) {
	current, err := a.sessions.current(c)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"user": current})
}

func (a *app) me(c *gin.Context) {
	c.JSON(http.StatusOK, gin.H{"user": currentUser(c)})
}
