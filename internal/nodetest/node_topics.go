package nodetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/ginsse/ginsse"
)

// The headers of requests to the routes of [LiveTopics].
const (
	databaseHeader = "X-Database" // the URL of the database
	deadlineHeader = "X-Deadline" // in milliseconds since 1970; the node does nothing after it
	stateHeader    = "X-State"    // set if the page wants states
	latestHeader   = "X-Latest"   // set if the page wants the newest event of each key
)

// addTopicRoutes adds the routes of an application with live topics. Its database is at the URL that
// the request names.
func addTopicRoutes(r *gin.Engine, registry *ginsse.Registry, auth *ginsse.Auth) {
	r.GET("/rooms", ginsse.Middleware(auth), func(c *gin.Context) {
		user, database := ginsse.UserID(c), c.GetHeader(databaseHeader)
		options := []ginsse.ServeOption{ginsse.WithPresence(func(string) any { return user })}
		if c.GetHeader(stateHeader) != "" {
			options = append(options, ginsse.WithState(func(ctx context.Context, state *ginsse.State) error {
				if state.Topic() == "" {
					return nil
				}
				text, err := ask(ctx, database+"/state", membershipOf(user, state.Topic()))
				if err != nil {
					return err
				}
				return state.Send(ginsse.Event{Type: "state", Data: text})
			}))
		}
		if c.GetHeader(latestHeader) != "" {
			options = append(options, ginsse.WithLatest())
		}
		_ = registry.Serve(c, options...)
	})
	r.POST("/rooms", auth.RequireUser(), registry.ControlHandler())
	change := func(path string, fn func(ctx context.Context, c *gin.Context) error) {
		r.POST(path, func(c *gin.Context) {
			at, err := strconv.ParseInt(c.GetHeader(deadlineHeader), 10, 64)
			deadline := time.UnixMilli(at)
			ctx, cancel := context.WithDeadline(c.Request.Context(), deadline)
			defer cancel()
			if err = errors.Join(err, ctx.Err()); err == nil && time.Now().Before(deadline) {
				err = fn(ctx, c)
			}
			if err != nil {
				c.String(http.StatusServiceUnavailable, "%v", err)
			}
		})
	}
	change("/grant/:topic/:user", func(ctx context.Context, c *gin.Context) error {
		return registry.Grant(ctx, c.Param("user"), c.Param("topic"))
	})
	change("/revoke/:topic/:user", func(ctx context.Context, c *gin.Context) error {
		return registry.Revoke(ctx, c.Param("user"), c.Param("topic"))
	})
	change("/revoke/:topic", func(ctx context.Context, c *gin.Context) error {
		return registry.RevokeTopic(ctx, c.Param("topic"))
	})
}

// mayRead is the AllowTopicFunc of a node.
func mayRead(c *gin.Context, topic string) (bool, error) {
	query := membershipOf(ginsse.UserID(c), topic)
	if c.Request.Method == http.MethodGet {
		query.Set("opening", "true")
	}
	answer, err := ask(c.Request.Context(), c.GetHeader(databaseHeader)+"/member", query)
	return answer == "true", err
}

// membershipOf is a query for a user and a topic.
func membershipOf(user, topic string) url.Values {
	return url.Values{"user": {user}, "topic": {topic}}
}

// ask asks the database.
func ask(ctx context.Context, address string, query url.Values) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return "", err
	}
	return do(http.DefaultClient, request)
}

// do sends a request, and returns the body of the response. Another status than 2xx is an error.
func do(client *http.Client, request *http.Request) (body string, err error) {
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("status %d: %s", response.StatusCode, text)
	}
	return string(text), err
}
