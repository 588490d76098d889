package main

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

const (
	maxPostRunes    = 2000
	maxCommentRunes = 1000
)

func (a *app) listPosts(c *gin.Context) {
	before, limit, err := queryPage(c)
	if err != nil {
		fail(c, err)
		return
	}
	posts, err := a.store.Posts(c.Request.Context(), ginsse.UserID(c), before, limit)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"posts": posts})
}

// textRequest is the body of requests that add a post or a comment.
type textRequest struct {
	Body string `json:"body"`
}

// readTextRequest returns the text of a new post or comment, and the request's idempotency key.
func readTextRequest(c *gin.Context, maxRunes int) (body, key string, err error) {
	if key, err = idempotencyKey(c); err != nil {
		return "", "", err
	}
	var given textRequest
	if err := readJSON(c, &given); err != nil {
		return "", "", err
	}
	body, err = requiredText("body", given.Body, maxRunes)
	return body, key, err
}

func (a *app) addPost(c *gin.Context) {
	body, key, err := readTextRequest(c, maxPostRunes)
	if err != nil {
		fail(c, err)
		return
	}
	made, err := a.store.AddPost(c.Request.Context(), ginsse.UserID(c), body, key)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusCreated, made)
}

func (a *app) getPost(c *gin.Context) {
	id, err := postID(c.Param("id"))
	if err != nil {
		fail(c, err)
		return
	}
	found, err := a.store.Post(c.Request.Context(), ginsse.UserID(c), id)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, found)
}

// listComments answers with earlier comments on a post. getPost answers with the newest.
func (a *app) listComments(c *gin.Context) {
	id, err := postID(c.Param("id"))
	if err != nil {
		fail(c, err)
		return
	}
	before, limit, err := queryPage(c)
	if err != nil {
		fail(c, err)
		return
	}
	comments, err := a.store.Comments(c.Request.Context(), id, before, limit)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusOK, gin.H{"comments": comments})
}

// addComment adds a comment. The store sends its events in the same transaction.
func (a *app) addComment(c *gin.Context) {
	id, err := postID(c.Param("id"))
	if err != nil {
		fail(c, err)
		return
	}
	body, key, err := readTextRequest(c, maxCommentRunes)
	if err != nil {
		fail(c, err)
		return
	}
	made, err := a.store.AddComment(c.Request.Context(), id, ginsse.UserID(c), body, key)
	if err != nil {
		fail(c, err)
		return
	}
	c.JSON(http.StatusCreated, made)
}

// typist is a user who is writing a comment on a post.
type typist struct {
	PostID int64 `json:"post_id"`
	User   user  `json:"user"`
}

// typing tells those who are reading a post that the user is writing a comment. It is not told to the
// user's own stream, whose ID the page sends.
func (a *app) typing(c *gin.Context) {
	id, err := postID(c.Param("id"))
	if err != nil {
		fail(c, err)
		return
	}
	exists, err := a.store.PostExists(c.Request.Context(), id)
	if err == nil && !exists {
		err = errNoSuchPost
	}
	if err != nil {
		fail(c, err)
		return
	}
	writer := currentUser(c)
	_, err = a.registry.Publish(c.Request.Context(), postTopic(id), ginsse.Event{
		Type: eventTyping, Key: "typing:" + writer.ID, Data: typist{id, writer}, Transient: true, Except: c.GetHeader("Stream-ID"),
	})
	if errors.Is(err, ginsse.ErrInvalidEvent) {
		err = badRequest("Stream-ID must be the ID of an event stream")
	}
	if err != nil {
		fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}

// reactionKinds are the valid kinds of reactions.
var reactionKinds = []string{"like", "love", "laugh"}

func (a *app) addReaction(c *gin.Context) {
	id, err := postID(c.Param("id"))
	if err != nil {
		fail(c, err)
		return
	}
	var given struct {
		Kind string `json:"kind"`
	}
	if err := readJSON(c, &given); err != nil {
		fail(c, err)
		return
	}
	if !slices.Contains(reactionKinds, given.Kind) {
		fail(c, invalid("kind must be one of %s", strings.Join(reactionKinds, ", ")))
		return
	}
	made, created, err := a.store.AddReaction(c.Request.Context(), id, ginsse.UserID(c), given.Kind)
	if err != nil {
		fail(c, err)
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	c.JSON(status, made)
}

// removeReaction removes a reaction. It succeeds even if the reaction does not exist.
func (a *app) removeReaction(c *gin.Context) {
	id, err := postID(c.Param("id"))
	if err != nil {
		fail(c, err)
		return
	}
	kind := c.Param("kind")
	if !slices.Contains(reactionKinds, kind) {
		fail(c, errKindNotFound)
		return
	}
	if err := a.store.RemoveReaction(c.Request.Context(), id, ginsse.UserID(c), kind); err != nil {
		fail(c, err)
		return
	}
	c.Status(http.StatusNoContent)
}
