package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a browser test waits for a condition. It is no demand on speed: several browsers
// may share two processors.
const patience = time.Minute

// chromium is a Chromium with its own profile, and so with its own session.
type chromium struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // how chromedp names a browser
}

// newBrowser starts a browser. Its profile is in a folder of chromedp's, because what a browser has started
// may write there after its end: removing a folder of the test would fail then. If the machine has none, the test is skipped, or fails with
// BROWSER_TESTS=required. With BROWSER_TESTS=none it is skipped in any case.
func newBrowser(t *testing.T) *chromium {
	t.Helper()
	if os.Getenv("BROWSER_TESTS") == "none" {
		t.Skip("BROWSER_TESTS is none")
	}
	path, err := findBrowser()
	if err != nil {
		if os.Getenv("BROWSER_TESTS") == "required" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.Flag("no-sandbox", os.Geteuid() == 0), // root cannot use the sandbox
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !strings.Contains(text, "EventTopLayerElementsUpdated") { // chromedp does not know of dialogs
			log.Print(text)
		}
	}))
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits until the browser has ended
		cancel()
		stop()
	})
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return &chromium{t, ctx}
}

func findBrowser() (string, error) {
	names := []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no browser for the tests of the page; install one of %s", strings.Join(names, ", "))
}

// tab is one page in a browser.
type tab struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // how chromedp names a tab
}

// open opens a page in a new tab. An exception in the page fails the test. The scripts run
// before the page's own.
func (b *chromium) open(url string, scripts ...string) *tab {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	b.t.Cleanup(cancel)
	chromedp.ListenTarget(ctx, func(event any) {
		if thrown, ok := event.(*runtime.EventExceptionThrown); ok {
			b.t.Errorf("in the page: %s", thrown.ExceptionDetails.Error())
		}
	})
	// The first run creates the tab. Its context is the lifetime of the tab.
	if err := chromedp.Run(ctx); err != nil {
		b.t.Fatal(err)
	}
	p := &tab{b.t, ctx}
	for _, script := range scripts {
		p.do(chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := page.AddScriptToEvaluateOnNewDocument(script).Do(ctx)
			return err
		}))
	}
	p.do(chromedp.Navigate(url))
	return p
}

// do runs actions, for at most patience.
func (p *tab) do(actions ...chromedp.Action) {
	p.t.Helper()
	ctx, cancel := context.WithTimeoutCause(p.ctx, patience, errors.New("not in time"))
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		p.t.Fatalf("%v; the page says:\n%s", errors.Join(err, context.Cause(ctx)), p.text())
	}
}

// close closes the tab.
func (p *tab) close() {
	p.t.Helper()
	if err := chromedp.Cancel(p.ctx); err != nil {
		p.t.Error(err)
	}
}

// text returns the visible text of the page, for the message of a failed test.
func (p *tab) text() (text string) {
	ctx, cancel := context.WithTimeout(p.ctx, time.Second)
	defer cancel()
	if err := chromedp.Run(ctx, chromedp.Evaluate("document.body.innerText", &text)); err != nil {
		return err.Error()
	}
	return text
}

// until waits until an expression of the page is true.
func (p *tab) until(what, expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	err := chromedp.Run(ctx, chromedp.Poll(expression, nil, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(0)))
	if err != nil {
		p.t.Fatalf("%s: %v; the page says:\n%s", what, err, p.text())
	}
}

// says waits until a visible element's text contains part.
func (p *tab) says(selector, part string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%s says %q", selector, part),
		fmt.Sprintf("[...document.querySelectorAll(%q)].some((e) => e.checkVisibility() && e.innerText.includes(%q))", selector, part))
}

// gone waits until no element of a selector is visible.
func (p *tab) gone(selector string) {
	p.t.Helper()
	p.until(selector+" is gone", fmt.Sprintf("![...document.querySelectorAll(%q)].some((e) => e.checkVisibility())", selector))
}

func (p *tab) click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(selector, chromedp.ByQuery, chromedp.NodeVisible))
}

func (p *tab) enter(selector, text string) {
	p.t.Helper()
	p.do(chromedp.SendKeys(selector, text, chromedp.ByQuery, chromedp.NodeVisible))
}

// run runs a script in the page and waits until it has ended.
func (p *tab) run(script string) {
	p.t.Helper()
	p.do(chromedp.Evaluate("(async () => {"+script+"})()", nil, func(params *runtime.EvaluateParams) *runtime.EvaluateParams {
		return params.WithAwaitPromise(true)
	}))
}

// signIn signs in and waits until the page is live.
func (p *tab) signIn(name string) {
	p.t.Helper()
	p.submitSignIn(name)
	p.live()
}

func (p *tab) submitSignIn(name string) {
	p.t.Helper()
	p.enter("#sign-in [name=name]", name)
	p.enter("#sign-in [name=password]", demoPassword)
	p.click("#sign-in .primary")
}

// live waits until the stream is live and the page has loaded its first state. Whatever happens
// from now on reaches the page as an event.
func (p *tab) live() {
	p.t.Helper()
	p.until("the page is live", `connection.dataset.state === "live" && home.ariaBusy === "false"`)
}

// narrow gives the tab the screen of a phone.
func (p *tab) narrow() {
	p.t.Helper()
	p.screen(360)
}

// screen sets the width of the tab's screen in pixels.
func (p *tab) screen(width int64) {
	p.t.Helper()
	phone := width < 480
	p.do(emulation.SetDeviceMetricsOverride(width, 740, map[bool]float64{true: 2, false: 1}[phone], phone))
}
