package main

import (
	"net/http"
	"slices"

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

// written is the body of a post and of a comment.
type written struct {
	Body string `json:"body"`
}

// readWritten returns what was written, and the key with which it may be sent again.
func readWritten(c *gin.Context, most int) (body, key string, err error) {
	if key, err = idempotencyKey(c); err != nil {
		return "", "", err
	}
	var given written
	if err := readJSON(c, &given); err != nil {
		return "", "", err
	}
	body, err = requiredText("body", given.Body, most)
	return body, key, err
}

func (a *app) addPost(c *gin.Context) {
	body, key, err := readWritten(c, maxPostRunes)
	if err != nil {
		fail(c, err)
		return
	}
	ctx := c.Request.Context()
	made, added, err := a.store.AddPost(ctx, ginsse.UserID(c), body, key)
	if err != nil {
		fail(c, err)
		return
	}
	if added {
		ctx, cancel := toSend(c)
		defer cancel()
		a.publish(ctx, feedTopic, eventPost, made)
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

// listComments answers with the comments before those that a client has: a post
// comes with the newest.
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

// addComment stores a comment and then says so: to the author of the post,
// wherever they are signed in, and to whoever looks at the post. The store has
// committed by then, so a page that looks at once finds what it was told of. Of a
// request that comes again nobody is told again.
func (a *app) addComment(c *gin.Context) {
	id, err := postID(c.Param("id"))
	if err != nil {
		fail(c, err)
		return
	}
	body, key, err := readWritten(c, maxCommentRunes)
	if err != nil {
		fail(c, err)
		return
	}
	ctx := c.Request.Context()
	made, added, notification, err := a.store.AddComment(ctx, id, ginsse.UserID(c), body, key)
	if err != nil {
		fail(c, err)
		return
	}
	if added {
		ctx, cancel := toSend(c)
		defer cancel()
		a.sendNotification(ctx, notification)
		a.publish(ctx, postTopic(made.PostID), eventPostComment, made)
	}
	c.JSON(http.StatusCreated, made)
}

// reactionKinds are the reactions there are.
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
		fail(c, invalid("kind is not one of %q", reactionKinds))
		return
	}
	ctx := c.Request.Context()
	made, created, notification, err := a.store.AddReaction(ctx, id, ginsse.UserID(c), given.Kind)
	if err != nil {
		fail(c, err)
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	ctx, cancel := toSend(c)
	defer cancel()
	a.sendNotification(ctx, notification)
	c.JSON(status, made)
}

// removeReaction leaves the post without the reaction, also when it had none.
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
