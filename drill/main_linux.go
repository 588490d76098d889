// Command drill causes bad days on this machine, and checks that the right alert fires, that no wrong
// one does, and that it ends after the remedy.
//
//	go run ./drill                 all cases, one after another
//	go run ./drill -case deploy    one
//	go run ./drill -list           what there is
//	go run ./drill -graphs docs/images
//
// A case starts nodes of the kit as processes, clients, and what it needs of Redis, PostgreSQL and nginx,
// and a Prometheus with the rules of promginsse/alerts.yml. Time goes 20 times faster than in production:
// see [Speed]. What it prints is production's time, so that an alert that waits for 5 minutes is printed as that.
//
// Start reading with day.go, how a case runs, then cases.go, what there is. node.go is the node, scale.go
// scales the rules, and graph.go draws.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	if settings, ok := os.LookupEnv(nodeVariable); ok {
		if err := runNode(settings); err != nil {
			log.Fatal(err)
		}
		return
	}
	if err := run(); err != nil {
		log.Fatal("drill: ", err)
	}
}

type options struct {
	cases    []*badDay
	graphs   string
	keep     bool
	hold     bool
	parallel int
}

func parse() (*options, error) {
	o := &options{}
	names := flag.String("case", "", "play these `names` alone, separated by commas")
	list := flag.Bool("list", false, "list the cases and their alerts")
	flag.StringVar(&o.graphs, "graphs", "", "draw a graph of each case into this `folder`")
	flag.BoolVar(&o.keep, "keep", false, "keep the logs of the processes")
	flag.BoolVar(&o.hold, "hold", false, "wait for Enter while the fault lasts, to look at Prometheus and at the nodes' live pages")
	flag.IntVar(&o.parallel, "parallel", 3, "how many cases are played at the same time")
	flag.Parse()
	o.cases = allCases()
	if *list {
		for _, d := range o.cases {
			fmt.Printf("%-14s %s\n", d.name, d.fault)
			fmt.Printf("%-14s   fires: %s\n", "", or(strings.Join(d.fires, ", "), "nothing"))
			if len(d.may) > 0 {
				fmt.Printf("%-14s   may fire: %s\n", "", strings.Join(d.may, ", "))
			}
		}
		return nil, flag.ErrHelp
	}
	if *names != "" {
		o.cases = nil
		for name := range strings.SplitSeq(*names, ",") {
			d := caseNamed(name)
			if d == nil {
				return nil, fmt.Errorf("there is no case %q: see -list", name)
			}
			o.cases = append(o.cases, d)
		}
	}
	if o.hold {
		o.parallel = 1
	}
	return o, nil
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func caseNamed(name string) *badDay {
	all := allCases()
	if i := slices.IndexFunc(all, func(d *badDay) bool { return d.name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse()
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	repo, err := findRepository(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	fmt.Printf("Time goes %d times faster than in production: a rule for 5m waits %v. Times below are production's.\n", Speed, scaled(5*time.Minute))
	var (
		playing sync.WaitGroup
		mu      sync.Mutex // guards failed and the output
		failed  []string
	)
	places := make(chan struct{}, o.parallel)
	for _, d := range o.cases {
		places <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		playing.Go(func() {
			defer func() { <-places }()
			start := time.Now()
			say := func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				fmt.Printf("%s: "+format+"\n", append([]any{d.name}, args...)...)
			}
			var hold func(*scene)
			if o.hold {
				hold = waitForEnter
			}
			r, err := d.run(ctx, repo, o.keep, say, hold)
			mu.Lock()
			defer mu.Unlock()
			verdict := "ok"
			if err != nil || len(r.problems) > 0 {
				verdict = "WRONG"
				failed = append(failed, d.name)
			}
			fmt.Printf("%s: %s, took %v\n", d.name, verdict, time.Since(start).Round(time.Second))
			if err != nil {
				fmt.Println("  WRONG  ", err)
				return
			}
			fmt.Print(r.report())
			if o.graphs != "" {
				if err := os.WriteFile(filepath.Join(o.graphs, "drill-"+d.name+".svg"), r.draw(), 0o644); err != nil { //nolint:gosec // for a page
					fmt.Println("  WRONG  ", err)
					failed = append(failed, d.name)
				}
			}
		})
	}
	playing.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d cases are wrong: %s", len(failed), len(o.cases), strings.Join(failed, ", "))
	}
	fmt.Printf("All %d cases are as they should be. That took %v.\n", len(o.cases), time.Since(began).Round(time.Second))
	return nil
}

// waitForEnter shows where to look, and waits.
func waitForEnter(s *scene) {
	fmt.Println("Prometheus:", s.prom.URL+"/alerts")
	for _, n := range s.nodes {
		fmt.Printf("%s: http://%s/debug/events/ and http://%s/metrics\n", n.cfg.Name, n.cfg.Metrics, n.cfg.Metrics)
	}
	fmt.Print("Enter ends the fault. ")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

// findRepository returns the root of the repository, which has the rules.
func findRepository(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/ginsse/ginsse")
	out, err := cmd.Output()
	if err != nil {
		return "", errors.New("run it in the repository: it reads promginsse/alerts.yml")
	}
	return strings.TrimSpace(string(out)), nil
}
