package main

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ginsse/ginsse"
)

// post is a post as one user, the viewer, sees it.
type post struct {
	ID           int64          `json:"id"`
	Author       user           `json:"author"`
	Body         string         `json:"body"`
	CreatedAt    time.Time      `json:"created_at"`
	CommentCount int            `json:"comment_count"`
	Reactions    map[string]int `json:"reactions"`    // number of reactions by kind
	MyReactions  []string       `json:"my_reactions"` // kinds of the viewer's reactions
}

// postWithComments is a post with its newest comments: maxComments at most, oldest first.
type postWithComments struct {
	post
	Comments []comment `json:"comments"`
}

// reaction is a reaction of one user to a post. A user can have one of each kind.
type reaction struct {
	PostID    int64     `json:"post_id"`
	Actor     user      `json:"actor"`
	Kind      string    `json:"kind"`
	CreatedAt time.Time `json:"created_at"`
}

// AddPost adds a post and sends it to all streams with the feed. If an earlier request with this
// key added the post, AddPost returns that post, and sends nothing; see [createOnceIn]. Errors:
// [errNoSuchUser], [errKeyReused].
func (s *store) AddPost(ctx context.Context, authorID, body, key string) (made post, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *transaction) error {
		author, err := userIn(ctx, tx.Tx, authorID)
		if err != nil {
			return err
		}
		var added bool
		if made, added, err = addPostIn(ctx, tx, author, body, key); err != nil || !added {
			return err
		}
		return tx.events.Publish(ctx, feedTopic, ginsse.Event{Type: eventPost, Data: made})
	})
	return made, err
}

func addPostIn(ctx context.Context, tx *transaction, author user, body, key string) (made post, added bool, err error) {
	made = post{Author: author, Body: body, Reactions: noReactions(), MyReactions: []string{}}
	made.ID, made.CreatedAt, added, err = createOnceIn(ctx, tx, author.ID, key, "post: "+body, func(at time.Time) (id int64, err error) {
		err = tx.QueryRowContext(ctx, "INSERT INTO posts (author_id, body, created_at) VALUES ($1, $2, $3) RETURNING id",
			author.ID, body, at.UnixMilli()).Scan(&id)
		return id, err
	})
	return made, added, err
}

// newest, as the argument before, selects the newest posts or comments.
const newest = math.MaxInt64

// Posts returns at most limit posts with IDs lower than before, newest first, as a viewer sees
// them.
func (s *store) Posts(ctx context.Context, viewerID string, before int64, limit int) (posts []post, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		posts, err = postsIn(ctx, tx, viewerID, "WHERE p.id < $1 ORDER BY p.id DESC LIMIT $2", before, limit)
		return err
	})
	return posts, err
}

// Post returns a post as a viewer sees it, or [errNoSuchPost].
func (s *store) Post(ctx context.Context, viewerID string, id int64) (found postWithComments, err error) {
	err = s.view(ctx, func(ctx context.Context, tx *sql.Tx) error {
		posts, err := postsIn(ctx, tx, viewerID, "WHERE p.id = $1", id)
		if err != nil {
			return err
		}
		if len(posts) == 0 {
			return errNoSuchPost
		}
		found.post = posts[0]
		found.Comments, err = commentsIn(ctx, tx, id, newest, maxComments)
		return err
	})
	return found, err
}

// PostExists reports whether there is a post with an ID.
func (s *store) PostExists(ctx context.Context, id int64) (exists bool, err error) {
	err = s.read.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM posts WHERE id = $1)", id).Scan(&exists)
	return exists, err
}

// AddReaction adds a reaction, and notifies the author of the post. If the reaction exists,
// AddReaction returns it and false.
//
// The author gets no notification of an own reaction, nor if the actor had removed the same reaction
// before: that notification exists already. Errors: [errNoSuchPost], [errNoSuchUser].
func (s *store) AddReaction(ctx context.Context, postID int64, actorID, kind string) (made reaction, added bool, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *transaction) error {
		about, err := postHeadIn(ctx, tx.Tx, postID)
		if err != nil {
			return err
		}
		actor, err := userIn(ctx, tx.Tx, actorID)
		if err != nil {
			return err
		}
		made = reaction{PostID: postID, Actor: actor, Kind: kind, CreatedAt: now()}
		// The insert comes first: another transaction with the same reaction waits for this one.
		done, err := tx.ExecContext(ctx, "INSERT INTO reactions (post_id, actor_id, kind, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
			postID, actorID, kind, made.CreatedAt.UnixMilli())
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		if err != nil {
			return err
		}
		if added = n > 0; !added {
			added, err = restoreReactionIn(ctx, tx.Tx, &made)
			return err
		}
		return notifyIn(ctx, tx, about, eventReaction, notificationData{PostID: postID, Actor: actor, Kind: kind, CreatedAt: made.CreatedAt})
	})
	return made, added, err
}

// restoreReactionIn adds a reaction that was removed. It returns false if it was not removed, and sets
// its time.
func restoreReactionIn(ctx context.Context, tx *sql.Tx, made *reaction) (bool, error) {
	done, err := tx.ExecContext(ctx, "UPDATE reactions SET removed = 0, created_at = $1 WHERE post_id = $2 AND actor_id = $3 AND kind = $4 AND removed = 1",
		made.CreatedAt.UnixMilli(), made.PostID, made.Actor.ID, made.Kind)
	if err != nil {
		return false, err
	}
	if n, err := done.RowsAffected(); err != nil || n > 0 {
		return n > 0, err
	}
	var createdAt int64
	err = tx.QueryRowContext(ctx, "SELECT created_at FROM reactions WHERE post_id = $1 AND actor_id = $2 AND kind = $3",
		made.PostID, made.Actor.ID, made.Kind).Scan(&createdAt)
	made.CreatedAt = millis(createdAt)
	return false, err
}

// RemoveReaction removes a reaction if it exists. Errors: [errNoSuchPost].
func (s *store) RemoveReaction(ctx context.Context, postID int64, actorID, kind string) error {
	return s.update(ctx, func(ctx context.Context, tx *transaction) error {
		if _, err := postHeadIn(ctx, tx.Tx, postID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE reactions SET removed = 1 WHERE post_id = $1 AND actor_id = $2 AND kind = $3", postID, actorID, kind)
		return err
	})
}

// postHead is the part of a post that a notification needs.
type postHead struct{ AuthorID, Body string }

// postHeadIn returns the head of a post, or [errNoSuchPost].
func postHeadIn(ctx context.Context, tx *sql.Tx, postID int64) (head postHead, err error) {
	err = tx.QueryRowContext(ctx, "SELECT author_id, body FROM posts WHERE id = $1", postID).Scan(&head.AuthorID, &head.Body)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoSuchPost
	}
	return head, err
}

// postsIn returns the posts that the rest of a query selects, as a viewer sees them.
func postsIn(ctx context.Context, tx *sql.Tx, viewerID, rest string, args ...any) ([]post, error) {
	rows, err := tx.QueryContext(ctx, "SELECT p.id, a.id, a.name, p.body, p.created_at, "+
		"(SELECT count(*) FROM comments c WHERE c.post_id = p.id) FROM posts p JOIN accounts a ON a.id = p.author_id "+rest, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	posts, ids := []post{}, []int64{} // not nil: an empty list must be [] in JSON
	for rows.Next() {
		p := post{Reactions: noReactions(), MyReactions: []string{}}
		var createdAt int64
		if err := rows.Scan(&p.ID, &p.Author.ID, &p.Author.Name, &p.Body, &createdAt, &p.CommentCount); err != nil {
			return nil, err
		}
		p.CreatedAt = millis(createdAt)
		posts, ids = append(posts, p), append(ids, p.ID)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return posts, addReactions(ctx, tx, viewerID, posts, ids)
}

// addReactions sets the reactions of posts. It makes one query for all of them.
func addReactions(ctx context.Context, tx *sql.Tx, viewerID string, posts []post, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	in, args := placeholders(2, ids)
	rows, err := tx.QueryContext(ctx, "SELECT post_id, kind, count(*), sum(CASE WHEN actor_id = $1 THEN 1 ELSE 0 END) FROM reactions "+
		"WHERE removed = 0 AND post_id IN ("+in+") GROUP BY post_id, kind", append([]any{viewerID}, args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var kind string
		var count, mine int
		if err := rows.Scan(&id, &kind, &count, &mine); err != nil {
			return err
		}
		p := &posts[slices.Index(ids, id)]
		if p.Reactions[kind] = count; mine > 0 {
			p.MyReactions = append(p.MyReactions, kind)
		}
	}
	return rows.Err()
}

// placeholders returns the list of an IN clause for IDs, and the arguments for it. The first
// placeholder has the number first.
func placeholders(first int, ids []int64) (in string, args []any) {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = "$" + strconv.Itoa(first+i)
		args = append(args, id)
	}
	return strings.Join(list, ", "), args
}

// noReactions returns the counts of a post without reactions.
func noReactions() map[string]int {
	counts := make(map[string]int, len(reactionKinds))
	for _, kind := range reactionKinds {
		counts[kind] = 0
	}
	return counts
}
