package main

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// maxComments is how many comments come with a post; earlier ones are asked for.
const maxComments = 200

// comment is a comment on a post.
type comment struct {
	ID        int64     `json:"id"`
	PostID    int64     `json:"post_id"`
	Author    user      `json:"author"`
	Body      string    `json:"body"`
	CreatedAt time.Time `json:"created_at"`
}

// AddComment adds a comment, and with it the notification of the post's author,
// which is nil if the comment is their own. If the same request with this key has
// added one, it returns that, and that nothing was added; see [onceIn].
// Errors: [errNoSuchPost], [errKeyReused].
func (s *store) AddComment(ctx context.Context, postID int64, authorID, body, key string) (made comment, added bool, notified *notification, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *sql.Tx) error {
		about, err := postHeadIn(ctx, tx, postID)
		if err != nil {
			return err
		}
		author, err := userIn(ctx, tx, authorID)
		if err != nil {
			return err
		}
		made = comment{PostID: postID, Author: author, Body: body}
		request := fmt.Sprintf("comment on %d: %s", postID, body)
		made.ID, made.CreatedAt, added, err = onceIn(ctx, tx, authorID, key, request, func(at time.Time) (id int64, err error) {
			err = tx.QueryRowContext(ctx, "INSERT INTO comments (post_id, author_id, body, created_at) VALUES (?, ?, ?, ?) RETURNING id",
				postID, authorID, body, at.UnixMilli()).Scan(&id)
			return id, err
		})
		if err != nil || !added {
			return err
		}
		notified, err = addNotificationIn(ctx, tx, about, eventComment, notice{PostID: postID, Actor: author, Body: body, CreatedAt: made.CreatedAt})
		return err
	})
	return made, added, notified, err
}

// Comments returns at most limit comments on a post, the last ones before an ID,
// oldest first. Errors: [errNoSuchPost].
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
		"JOIN accounts a ON a.id = c.author_id WHERE c.post_id = ? AND c.id < ? ORDER BY c.id DESC LIMIT ?", postID, before, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	comments := []comment{} // [] and not null when empty
	for rows.Next() {
		one := comment{PostID: postID}
		var createdAt int64
		if err := rows.Scan(&one.ID, &one.Author.ID, &one.Author.Name, &one.Body, &createdAt); err != nil {
			return nil, err
		}
		one.CreatedAt = millis(createdAt)
		comments = append(comments, one)
	}
	slices.Reverse(comments)
	return comments, rows.Err()
}
