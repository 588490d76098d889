package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/databases"
)

// It checks that all parts do their work, not how fast. Without PostgreSQL, only those on SQLite.
func TestDatabasesHaveFiguresForAllAims(t *testing.T) {
	found, err := databases.Measure(t.Context(), databases.Options{Quick: true, Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	if found.Server == "" {
		t.Log(found.Notes)
	}
	aims := 0
	for _, table := range found.Tables {
		aims += len(table.Aims)
		for _, row := range table.Rows {
			for i, values := range row.Values {
				if len(values) != 1 || !(values[0] >= 0) {
					t.Errorf("%s, %s, %s: %v", table.Title, row.Name, table.Figures[i].Name, values)
				}
			}
		}
	}
	if least := 4; aims < least {
		t.Errorf("%d aims, want %d at least", aims, least)
	}
	page := found.Markdown()
	if strings.Contains(page, "NaN") || strings.Count(page, "\n## ") != len(found.Tables) {
		t.Errorf("the page is\n%s", page)
	}
}

func TestDatabasesRejectUnknownParts(t *testing.T) {
	t.Parallel()
	if slices.Contains(databases.Parts, "nosuch") {
		t.Fatal("there is such a part")
	}
	_, err := databases.Measure(t.Context(), databases.Options{Rounds: 1, Parts: "append,nosuch"})
	if err == nil || !strings.HasPrefix(err.Error(), `there is no part "nosuch"; there are transactions, `) {
		t.Errorf("the error is %v", err)
	}
}
