package promginsse_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboard has what this test looks at of dashboard.json.
type dashboard struct {
	UID    string  `json:"uid"`
	Panels []panel `json:"panels"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Description string     `json:"description"`
	Datasource  datasource `json:"datasource"`
	GridPos     struct {
		X int `json:"x"`
		Y int `json:"y"`
		W int `json:"w"`
		H int `json:"h"`
	} `json:"gridPos"`
	Links []struct {
		URL string `json:"url"`
	} `json:"links"`
	Targets []struct {
		Expr       string     `json:"expr"`
		Datasource datasource `json:"datasource"`
	} `json:"targets"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

func readDashboard(t *testing.T) (d dashboard, text string) {
	t.Helper()
	text = readFile(t, "dashboard.json")
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	return d, text
}

// The dashboard has every metric, and none that does not exist. That its queries work on a real
// Prometheus is tested in examples/gin-app.
func TestDashboardShowsAllMetrics(t *testing.T) {
	t.Parallel()
	_, text := readDashboard(t)
	shown := regexp.MustCompile(`ginsse_\w+`).FindAllString(text, -1)
	for i, name := range shown {
		shown[i] = strings.TrimSuffix(name, "_bucket")
	}
	var names []string
	for _, family := range gather(t, newCollector(t)) {
		names = append(names, family.GetName())
		if !slices.Contains(shown, family.GetName()) {
			t.Errorf("no panel has %s", family.GetName())
		}
	}
	for _, name := range shown {
		if !slices.Contains(names, name) {
			t.Errorf("there is no metric %s", name)
		}
	}
}

// Every panel says what it shows, in which unit, and for the nodes that were chosen. A link to
// docs/operating.md leads to a section of it.
func TestDashboardExplainsItself(t *testing.T) {
	t.Parallel()
	d, _ := readDashboard(t)
	if d.UID != "ginsse" {
		t.Errorf("the UID is %q: links to the dashboard would break", d.UID)
	}
	if len(d.Panels) < 30 {
		t.Errorf("there are %d panels", len(d.Panels))
	}
	sections := sectionsOf(readFile(t, "../docs/operating.md"))
	ids := make(map[int]string)
	for _, p := range d.Panels {
		if other, taken := ids[p.ID]; taken {
			t.Errorf("%s and %s have the ID %d", other, p.Title, p.ID)
		}
		ids[p.ID] = p.Title
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || len(p.Description) < 20 || len(p.Targets) == 0 {
			t.Errorf("panel %d %q has no title, no description or no query", p.ID, p.Title)
		}
		if p.FieldConfig.Defaults.Unit == "" && (p.Type == "timeseries" || p.Type == "stat") {
			t.Errorf("%s has no unit", p.Title)
		}
		chosen := datasource{"prometheus", "${datasource}"}
		for _, target := range p.Targets {
			if p.Datasource != chosen || target.Datasource != chosen {
				t.Errorf("%s has another data source than the one that was chosen", p.Title)
			}
			for _, metric := range regexp.MustCompile(`(ginsse_|go_|process_|up\{)[^{]*(\{[^}]*)?`).FindAllString(target.Expr, -1) {
				if !strings.Contains(metric, `job=~"$job", instance=~"$instance"`) {
					t.Errorf("%s: %s is of all nodes", p.Title, metric)
				}
			}
		}
		for _, link := range p.Links {
			_, section, _ := strings.Cut(link.URL, "docs/operating.md#")
			if !slices.Contains(sections, section) {
				t.Errorf("%s: there is no section %s", p.Title, link.URL)
			}
		}
	}
}

// sectionsOf returns the anchors of the headings of a page.
func sectionsOf(page string) (anchors []string) {
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		anchors = append(anchors, strings.ReplaceAll(strings.ToLower(match[1]), " ", "-"))
	}
	return anchors
}

// Grafana would move panels that lie on each other.
func TestDashboardPanelsDoNotOverlap(t *testing.T) {
	t.Parallel()
	const columns = 24
	d, _ := readDashboard(t)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= columns {
					t.Fatalf("%s lies on %q or outside, at %d, %d", p.Title, other, x, y)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}
