package ginsse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse/eventlog"
)

// allowTopics adds the topics that the page asks for to a stream that is not attached yet.
func (r *Registry) allowTopics(c *gin.Context, s *Stream) error {
	if r.cfg.AllowTopicFunc == nil || c.Request.URL.RawQuery == "" {
		return nil
	}
	asked := c.Request.URL.Query()[r.cfg.TopicParameter] // c.QueryArray would keep it for the stream's life
	o := streamOptions{topics: s.topicSubjects()}
	for _, topic := range asked {
		if err := checkName("topic", topic); err != nil {
			return err
		}
	}
	// The tabs of a browser share one stream. If they want more topics than it can have, the others
	// are left out.
	left := maxTopics - len(o.topics)
	allowed, _, err := r.checkTopics(c, asked[:min(left, len(asked))])
	if err == nil {
		err = WithTopics(allowed...).apply(&o)
	}
	if err != nil {
		return err
	}
	s.setTopics(o.topics)
	// What the check has read may be newer than the place that the stream had.
	s.at, err = r.currentHead(c.Request.Context())
	return err
}

// checkTopics asks the application which topics it grants.
func (r *Registry) checkTopics(c *gin.Context, topics []string) (allowed, refused []string, err error) {
	allowed, refused = []string{}, []string{}
	if len(topics) > maxTopics {
		return nil, nil, errTooManyTopics
	}
	for _, topic := range topics {
		if err := checkName("topic", topic); err != nil {
			return nil, nil, err
		}
		switch ok, err := r.cfg.AllowTopicFunc(c, topic); {
		case err != nil:
			return nil, nil, fmt.Errorf("AllowTopicFunc: %w", err)
		case ok:
			allowed = append(allowed, topic)
		default:
			refused = append(refused, topic)
		}
	}
	return allowed, refused, nil
}

// controlRequest is what a page asks for its stream.
type controlRequest struct {
	Stream string   `json:"stream"`
	Add    []string `json:"add"`
	Remove []string `json:"remove"`
	State  bool     `json:"state"`
}

// controlAnswer is the answer to it.
type controlAnswer struct {
	Accepted []string `json:"accepted"`
	Refused  []string `json:"refused"`
}

const (
	// maxControlBytes is the most bytes of a request to ControlHandler.
	maxControlBytes = 64 << 10
	// controlTimeout bounds what the log may take for the command.
	controlTimeout = 5 * time.Second
	// controlBodyTimeout is how long the body of a request may take.
	controlBodyTimeout = 10 * time.Second
)

// ControlHandler returns a handler by which a page changes its open stream, on whichever node that is.
// [Auth.RequireUser] must run before it. The body of the request is JSON:
//
//	{"stream": ID, "add": [topics], "remove": [topics], "state": bool}
//
// Only "stream" is required: the ID in sse.open. The topics in "add" are those that
// [RegistryConfig.AllowTopicFunc] grants. The answer is 202 with {"accepted": [...], "refused": [...]}.
// When the stream has reached the change, the page gets sse.topics there. With "state", the stream sends
// its state again: see [WithState]. Each request also renews the stream, if the credential of the
// request expires later than the stream: see [Registry.Renew].
//
// A stream of another user, or that has ended, is not changed, and the answer does not tell.
//
// The answer is 400 for a body that is not valid, 429 if the user asks more often than
// [RegistryConfig.MaxOpensPerMinute], and 503 if the log does not take the change, or AllowTopicFunc
// returns an error. After 503 the page asks again.
func (r *Registry) ControlHandler() gin.HandlerFunc { return r.control }

func (r *Registry) control(c *gin.Context) {
	identity := identityOf(c)
	if identity.UserID == "" {
		r.warn(c, "changing a stream", ErrNoUser)
		_ = c.Error(ErrNoUser)
		abortJSON(c, http.StatusInternalServerError, "no_user", "this route has no user")
		return
	}
	var asked controlRequest
	connection := http.NewResponseController(c.Writer)
	_ = connection.SetReadDeadline(time.Now().Add(controlBodyTimeout)) // a server of streams may have no ReadTimeout
	defer connection.SetReadDeadline(time.Time{})                      //nolint:errcheck // of a connection that is gone
	body := http.MaxBytesReader(c.Writer, c.Request.Body, maxControlBytes)
	if err := json.NewDecoder(body).Decode(&asked); err != nil || asked.Stream == "" || len(asked.Stream) > maxStreamIDBytes {
		abortJSON(c, http.StatusBadRequest, codeInvalidRequest, `the body must be JSON with "stream", the ID in sse.open`)
		return
	}
	if after := r.mayControl(identity.UserID); after > 0 {
		c.Header("Retry-After", fmt.Sprint(int64(after/time.Second)+1))
		abortJSON(c, http.StatusTooManyRequests, "too_many_requests", "the streams of this user are changed too often")
		return
	}
	answer, err := r.carryOutControl(c, identity, asked)
	switch {
	case errors.Is(err, ErrInvalidSubject):
		abortJSON(c, http.StatusBadRequest, codeInvalidRequest, "the topics asked for are not valid")
	case err != nil:
		r.warn(c, "changing a stream", err)
		_ = c.Error(err)
		abortJSON(c, http.StatusServiceUnavailable, "unavailable", "the stream cannot be changed now; try again")
	default:
		c.JSON(http.StatusAccepted, answer)
	}
}

// mayControl returns after how long a user may change a stream; 0 for now.
func (r *Registry) mayControl(userID string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.admission.controls.take(userID, time.Now())
}

func (r *Registry) carryOutControl(c *gin.Context, identity Identity, asked controlRequest) (answer controlAnswer, err error) {
	ctx := context.WithoutCancel(c.Request.Context()) // a page that has gone may have done half
	answer = controlAnswer{Accepted: []string{}, Refused: []string{}}
	if len(asked.Remove) > maxTopics {
		return answer, errTooManyTopics
	}
	for _, topic := range asked.Remove {
		if err := checkName("topic", topic); err != nil {
			return answer, err
		}
	}
	var checked eventlog.Cursor
	if len(asked.Add) > 0 {
		if r.cfg.AllowTopicFunc == nil {
			return answer, errNoAllowTopicFunc
		}
		// First: a revocation from here on wins over the grant.
		if checked, err = r.currentHead(ctx); err != nil {
			return answer, err
		}
		if answer.Accepted, answer.Refused, err = r.checkTopics(c, asked.Add); err != nil {
			return answer, err
		}
	}
	d := controlData{Stream: asked.Stream, Remove: asked.Remove, Add: answer.Accepted, State: asked.State}
	if len(d.Add) > 0 {
		d.Checked = checked.String()
	}
	if !identity.Expiry.IsZero() {
		d.Expiry = identity.Expiry.UnixMilli()
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	_, err = r.command(ctx, identity.UserID, controlCommand, d)
	return answer, err
}

var errTooManyTopics = fmt.Errorf("%w: more than %d topics", ErrInvalidSubject, maxTopics)

var errNoAllowTopicFunc = errors.New("ginsse: a page asks for topics, and RegistryConfig.AllowTopicFunc is not set")

// Renew moves the expiry of a stream to a later time, after the application has checked a fresh
// credential of the user: so the stream lasts longer than the credential that opened it. A stream that
// expires later, or never, does not change, and [StreamConfig.MaxLifetime] ends it all the same.
//
// The stream may be on any node. A stream of another user, or that has ended, is not changed, which is
// no error.
//
// Errors: those of [Registry.SendTo], and one for a zero time.
func (r *Registry) Renew(ctx context.Context, userID, streamID string, expiry time.Time) error {
	if err := checkName("user ID", userID); err != nil {
		return err
	}
	if expiry.IsZero() {
		return errors.New("ginsse: Renew: the expiry is the zero time; a stream that does not expire needs no renewal")
	}
	_, err := r.command(ctx, userID, controlCommand, controlData{Stream: streamID, Expiry: expiry.UnixMilli()})
	return err
}
