package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/ginsse/ginsse"
)

// maxComments is how many comments a post includes. Clients ask for earlier ones.
const maxComments = 200

// comment is a comment on a post.
type comment struct {
	ID        int64     `json:"id"`
	PostID    int64     `json:"post_id"`
	Author    user      `json:"author"`
	Body      string    `json:"body"`
	CreatedAt time.Time `json:"created_at"`
}

// AddComment adds a comment and sends two events. One goes to the author of the post, with a
// notification, and one to all streams with the topic of the post. All of it is one transaction: a
// page that gets an event finds the comment, and a comment without its events is not possible.
//
// If an earlier request with this key added the comment, AddComment returns that comment, and sends
// nothing; see [createOnceIn]. Errors: [errNoSuchPost], [errKeyReused].
func (s *store) AddComment(ctx context.Context, postID int64, authorID, body, key string) (made comment, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *transaction) error {
		about, err := postHeadIn(ctx, tx.Tx, postID)
		if err != nil {
			return err
		}
		author, err := userIn(ctx, tx.Tx, authorID)
		if err != nil {
			return err
		}
		made = comment{PostID: postID, Author: author, Body: body}
		request := fmt.Sprintf("comment on %d: %s", postID, body)
		var added bool
		made.ID, made.CreatedAt, added, err = createOnceIn(ctx, tx, authorID, key, request, func(at time.Time) (id int64, err error) {
			err = tx.QueryRowContext(ctx, "INSERT INTO comments (post_id, author_id, body, created_at) VALUES ($1, $2, $3, $4) RETURNING id",
				postID, authorID, body, at.UnixMilli()).Scan(&id)
			return id, err
		})
		if err != nil || !added {
			return err
		}
		err = notifyIn(ctx, tx, about, eventComment, notificationData{PostID: postID, Actor: author, Body: body, CreatedAt: made.CreatedAt})
		if err != nil {
			return err
		}
		return tx.events.Publish(ctx, postTopic(postID), ginsse.Event{Type: eventPostComment, Data: made})
	})
	return made, err
}

// Comments returns the last comments on a post with IDs lower than before. There are at most
// limit, oldest first. Errors: [errNoSuchPost].
func (s *store) Comments(ctx context.Context, postID, before int64, limit int) (comments []comment, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := postHeadIn(ctx, tx, postID); err != nil {
			return err
		}
		comments, err = commentsIn(ctx, tx, postID, before, limit)
		return err
	})
	return comments, err
}

func commentsIn(ctx context.Context, tx *sql.Tx, postID, before int64, limit int) ([]comment, error) {
	rows, err := tx.QueryContext(ctx, "SELECT c.id, a.id, a.name, c.body, c.created_at FROM comments c "+
		"JOIN accounts a ON a.id = c.author_id WHERE c.post_id = $1 AND c.id < $2 ORDER BY c.id DESC LIMIT $3", postID, before, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	comments := []comment{} // not nil: an empty list must be [] in JSON
	for rows.Next() {
		c := comment{PostID: postID}
		var createdAt int64
		if err := rows.Scan(&c.ID, &c.Author.ID, &c.Author.Name, &c.Body, &createdAt); err != nil {
			return nil, err
		}
		c.CreatedAt = millis(createdAt)
		comments = append(comments, c)
	}
	slices.Reverse(comments)
	return comments, rows.Err()
}
