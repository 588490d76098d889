package main

import (
	"context"
	"slices"
	"time"
)

// post is a post as a person sees it.
type post struct {
	ID           int64          `json:"id"`
	Author       user           `json:"author"`
	Body         string         `json:"body"`
	CreatedAt    time.Time      `json:"created_at"`
	CommentCount int            `json:"comment_count"`
	Reactions    map[string]int `json:"reactions"`    // how many, by kind
	MyReactions  []string       `json:"my_reactions"` // kinds
}

// postWithComments has the comments too, oldest first.
type postWithComments struct {
	post
	Comments []comment `json:"comments"`
}

// comment is a comment on a post.
type comment struct {
	ID        int64     `json:"id"`
	PostID    int64     `json:"post_id"`
	Author    user      `json:"author"`
	Body      string    `json:"body"`
	CreatedAt time.Time `json:"created_at"`
}

// reaction is one person's reaction of one kind to a post.
type reaction struct {
	PostID    int64     `json:"post_id"`
	Actor     user      `json:"actor"`
	Kind      string    `json:"kind"`
	CreatedAt time.Time `json:"created_at"`
}

// postRow is a post with what belongs to it.
type postRow struct {
	id        int64
	author    string
	body      string
	createdAt time.Time
	comments  []comment
	reactions map[reactionKey]*reactionRow
}

// reactionKey is unique at a post.
type reactionKey struct{ actor, kind string }

// reactionRow stays when the reaction is removed: that its post's author has
// been told of it is not forgotten.
type reactionRow struct {
	createdAt time.Time
	removed   bool
}

// AddPost adds a post.
func (s *store) AddPost(_ context.Context, authorID, body string) (post, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[authorID] == nil {
		return post{}, errNoSuchUser
	}
	row := &postRow{
		id:        int64(len(s.posts)) + 1,
		author:    authorID,
		body:      body,
		createdAt: now(),
		reactions: make(map[reactionKey]*reactionRow),
	}
	s.posts = append(s.posts, row)
	return s.viewLocked(row, authorID), nil
}

// Posts returns at most limit posts, newest first, as a person sees them: those
// before an ID, or from the newest on if that is 0.
func (s *store) Posts(_ context.Context, viewerID string, before int64, limit int) ([]post, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	rows := s.posts
	if before > 0 && before <= int64(len(rows)) {
		rows = rows[:before-1]
	}
	posts := make([]post, 0, min(limit, len(rows)))
	for _, row := range slices.Backward(rows) {
		if len(posts) == limit {
			break
		}
		posts = append(posts, s.viewLocked(row, viewerID))
	}
	return posts, nil
}

// Post returns a post as a person sees it, or [errNoSuchPost].
func (s *store) Post(_ context.Context, viewerID string, id int64) (postWithComments, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	row, err := s.postLocked(id)
	if err != nil {
		return postWithComments{}, err
	}
	return postWithComments{
		post:     s.viewLocked(row, viewerID),
		Comments: append([]comment{}, row.comments...), // [] and not null when empty
	}, nil
}

// AddComment adds a comment, and with it the notification of the post's author,
// which is nil if the comment is their own. Errors: [errNoSuchPost].
func (s *store) AddComment(_ context.Context, postID int64, authorID, body string) (comment, *notification, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row, err := s.postLocked(postID)
	if err != nil {
		return comment{}, nil, err
	}
	if s.accounts[authorID] == nil {
		return comment{}, nil, errNoSuchUser
	}
	s.lastComment++
	made := comment{ID: s.lastComment, PostID: postID, Author: s.userLocked(authorID), Body: body, CreatedAt: now()}
	row.comments = append(row.comments, made)
	return made, s.notifyLocked(row, eventComment, notice{
		PostID: postID, Actor: made.Author, Body: body, CreatedAt: made.CreatedAt,
	}), nil
}

// AddReaction adds a reaction, unless the person has it there already, and says
// whether it did. With it goes the notification of the post's author: nil if that
// is the person, and nil if the author was told before. Taking a reaction back
// and giving it again tells nobody anything new. Errors: [errNoSuchPost].
func (s *store) AddReaction(_ context.Context, postID int64, actorID, kind string) (reaction, bool, *notification, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row, err := s.postLocked(postID)
	if err != nil {
		return reaction{}, false, nil, err
	}
	if s.accounts[actorID] == nil {
		return reaction{}, false, nil, errNoSuchUser
	}
	made := reaction{PostID: postID, Actor: s.userLocked(actorID), Kind: kind, CreatedAt: now()}
	key := reactionKey{actorID, kind}
	switch had := row.reactions[key]; {
	case had == nil:
		row.reactions[key] = &reactionRow{createdAt: made.CreatedAt}
		return made, true, s.notifyLocked(row, eventReaction, notice{
			PostID: postID, Actor: made.Actor, Kind: kind, CreatedAt: made.CreatedAt,
		}), nil
	case had.removed:
		*had = reactionRow{createdAt: made.CreatedAt}
		return made, true, nil, nil
	default:
		made.CreatedAt = had.createdAt
		return made, false, nil, nil
	}
}

// RemoveReaction removes a reaction if there is one. Errors: [errNoSuchPost].
func (s *store) RemoveReaction(_ context.Context, postID int64, actorID, kind string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	row, err := s.postLocked(postID)
	if err != nil {
		return err
	}
	if had := row.reactions[reactionKey{actorID, kind}]; had != nil {
		had.removed = true
	}
	return nil
}

func (s *store) postLocked(id int64) (*postRow, error) {
	if id < 1 || id > int64(len(s.posts)) {
		return nil, errNoSuchPost
	}
	return s.posts[id-1], nil
}

// viewLocked returns a post as a person sees it.
func (s *store) viewLocked(row *postRow, viewerID string) post {
	view := post{
		ID:           row.id,
		Author:       s.userLocked(row.author),
		Body:         row.body,
		CreatedAt:    row.createdAt,
		CommentCount: len(row.comments),
		Reactions:    make(map[string]int, len(reactionKinds)),
		MyReactions:  []string{},
	}
	for _, kind := range reactionKinds {
		view.Reactions[kind] = 0
		if mine := row.reactions[reactionKey{viewerID, kind}]; mine != nil && !mine.removed {
			view.MyReactions = append(view.MyReactions, kind)
		}
	}
	for key, row := range row.reactions {
		if !row.removed {
			view.Reactions[key.kind]++
		}
	}
	return view
}
