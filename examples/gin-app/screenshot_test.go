package main

import (
	"context"
	"flag"
	"net/http"
	"os"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var screenshots = flag.Bool("screenshots", false, "take the screenshots of the documentation anew")

// TestScreenshotsOfTheApplication takes those of the README. Run it with make screenshots.
func TestScreenshotsOfTheApplication(t *testing.T) {
	t.Parallel()
	if !*screenshots {
		t.Skip("screenshots are taken with -screenshots only")
	}
	s := newSite(t, appConfig{Demo: true})
	bob, carol := s.signedIn("bob"), s.signedIn("carol")
	react := func(v *visitor, post, kind string) {
		v.want(http.StatusCreated, "POST", "/api/posts/"+post+"/reactions", map[string]string{"kind": kind})
	}
	react(bob, "3", "laugh")
	react(carol, "2", "like")
	react(carol, "1", "love")
	carol.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"Ours only hums. Which make is it?"})

	b := newBrowser(t)
	desktop := b.open(s.url)
	desktop.do(emulation.SetDeviceMetricsOverride(1000, 1000, 1, false))
	desktop.signIn("alice")
	desktop.click(`[data-post="1"] .toggle`)
	desktop.live()
	react(bob, "1", "like")
	bob.want(http.StatusCreated, "POST", "/api/posts/1/comments", textRequest{"Which tune?"})
	for _, reader := range []*visitor{bob, carol} {
		reader.open("/events?topic=post:1")
	}
	desktop.says("#unread", "4")
	desktop.says(`[data-post="1"] .comments`, "Which tune?")
	desktop.says(`[data-post="1"] .readers`, "bob and carol are reading")
	carol.want(http.StatusNoContent, "POST", "/api/posts/1/typing", nil)
	desktop.says(`[data-post="1"] .typists`, "carol is typing…")
	desktop.shoot("screenshots/desktop.png")

	phone := b.open(s.url)
	phone.narrow()
	phone.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	phone.live()
	phone.click("#bell")
	phone.says("#notifications", "Which tune?")
	phone.shoot("screenshots/phone.png")
}

func (p *tab) shoot(file string) {
	p.t.Helper()
	p.until("nothing moves", "document.getAnimations().length === 0")
	p.do(chromedp.ActionFunc(func(ctx context.Context) error {
		var picture []byte
		if err := chromedp.CaptureScreenshot(&picture).Do(ctx); err != nil {
			return err
		}
		return os.WriteFile(file, picture, 0o600)
	}))
}
