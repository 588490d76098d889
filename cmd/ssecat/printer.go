package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/ginsse/ginsse/client"
)

// form is the output format of events.
type form int

const (
	formLines form = iota // as the lines of an event stream
	formJSON              // one object a line
	formData              // the data and a line end
)

// printer writes each event with one write, so that a reader of the output sees whole events at
// once.
type printer struct {
	w           io.Writer
	form        form
	terminal    bool   // escape control characters
	lastEventID string // the last one printed
	buffer      bytes.Buffer
}

func (p *printer) print(event client.Event) error {
	p.buffer.Reset()
	switch p.form {
	case formJSON:
		if err := p.object(event); err != nil {
			return err
		}
	case formData:
		p.buffer.WriteString(event.Data + "\n")
	default:
		p.lines(event)
	}
	if p.terminal {
		shown := visible(p.buffer.String())
		p.buffer.Reset()
		p.buffer.WriteString(shown)
	}
	_, err := p.w.Write(p.buffer.Bytes())
	return err
}

func (p *printer) object(event client.Event) error {
	encoder := json.NewEncoder(&p.buffer)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(struct {
		Event       string `json:"event"`
		Data        string `json:"data"`
		LastEventID string `json:"lastEventId"`
	}{event.Type, event.Data, event.LastEventID})
}

// lines writes an event as in an event stream, so that the output is an event stream, too.
func (p *printer) lines(event client.Event) {
	field := func(name, value string) {
		p.buffer.WriteString(name + ": " + value + "\n")
	}
	if event.Type != "message" {
		field("event", event.Type)
	}
	for line := range strings.SplitSeq(event.Data, "\n") {
		field("data", line)
	}
	if event.LastEventID != p.lastEventID {
		field("id", event.LastEventID)
		p.lastEventID = event.LastEventID
	}
	p.buffer.WriteByte('\n')
}
