// Package promginsse has the metrics of a registry for Prometheus:
//
//	metrics := promginsse.New()
//	registry, err := ginsse.NewRegistry(ginsse.RegistryConfig{
//		Observers: []*ginsse.Observer{metrics.Observer()},
//	})
//	// ...
//	prometheus.MustRegister(metrics.Collector(registry))
//
// The list of the metrics is in docs/metrics.md of the repository. Alert rules are in alerts.yml of this
// package. The values of labels are a fixed set: they never have a user ID, a topic or a credential.
package promginsse
