package ginsse

import (
	"context"
	"encoding/json"
	"errors"
)

// NodeAnswer is what the observers of one node answer: see [Registry.AskNodes].
type NodeAnswer struct {
	Node string          // a random name, as in StreamInfo; "" if this node is the only one
	Data json.RawMessage // nil if no observer of the node knows an answer
}

const (
	maxQuestionBytes = 2 << 10
	// maxAnswerData is the most bytes that an observer may answer: what a message between nodes can
	// carry.
	maxAnswerData = 48 << 10
)

// AskNodes calls [Observer.Answer] on all nodes, and returns the answers, that of this node first. The
// question is a text of at most 2 KiB that the observers understand. It is for what shows all nodes,
// such as the page of package debug.
//
// It waits for the other nodes as [Registry.ListStreams] does, and returns the same errors. An answer
// of another node is as trustworthy as the broker of the log: check its values.
func (r *Registry) AskNodes(ctx context.Context, text string) ([]NodeAnswer, error) {
	if text == "" {
		return nil, errors.New("ginsse: AskNodes needs a question")
	}
	all, err := r.ask(ctx, question{Text: text})
	return all.data, err
}

// askObservers returns the answer of this node. One that is no JSON, or too large, is none.
func (r *Registry) askObservers(text string) json.RawMessage {
	f := r.observe.Answer
	if f == nil {
		return nil
	}
	if data := f(text); len(data) <= maxAnswerData && json.Valid(data) {
		return data
	}
	return nil
}
