package promginsse_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginsse/ginsse"
	"github.com/ginsse/ginsse/promginsse"
)

// The metrics of a registry are registered with those of the process.
func Example() {
	metrics := promginsse.New()
	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
		Observers: []*ginsse.Observer{metrics.Observer()},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registry.Close()
	if err := prometheus.Register(metrics.Collector(registry)); err != nil {
		fmt.Println(err)
		return
	}

	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, family := range families {
		if family.GetName() == "ginsse_users" {
			fmt.Println(family.GetHelp(), family.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output: Users with a live stream on this node. 0
}
