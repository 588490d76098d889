package report_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/report"
)

func TestReplaceLeavesTheRestOfTheFile(t *testing.T) {
	t.Parallel()
	const begin, end = report.Begin + "\n", report.End + "\n"
	tests := map[string]struct{ file, want string }{
		"empty_between": {
			"# A\n\nwords\n" + begin + end + "more\n",
			"# A\n\nwords\n" + begin + "\nNEW\n\n" + end + "more\n",
		},
		"replaced": {
			"# A\n" + begin + "\nold\n\nolder\n" + end + "more",
			"# A\n" + begin + "\nNEW\n\n" + end + "more",
		},
		"nothing_else":         {begin + report.End, begin + "\nNEW\n\n" + report.End},
		"other_line_breaks":    {"a\r\n" + report.Begin + "\r\nold\r\n" + report.End + "\r\nb\r\n", "a\r\n" + report.Begin + "\r\n\nNEW\n\n" + report.End + "\r\nb\r\n"},
		"named_within_a_line":  {"see `" + report.Begin + "`\n" + begin + end, "see `" + report.Begin + "`\n" + begin + "\nNEW\n\n" + end},
		"no_break_at_the_end":  {begin + "old\n" + report.End, begin + "\nNEW\n\n" + report.End},
		"trailing_white_space": {report.Begin + " \nold\n" + end, report.Begin + " \n\nNEW\n\n" + end},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given := []byte(test.file)
			got, err := report.Replace(given, "NEW\n")
			if err != nil || string(got) != test.want {
				t.Errorf("got %q, %v\nwant %q", got, err, test.want)
			}
			if string(given) != test.file {
				t.Error("the file given was changed")
			}
			if again, err := report.Replace(got, "NEW\n"); err != nil || string(again) != test.want {
				t.Errorf("replaced once more it is %q, %v", again, err)
			}
		})
	}
}

func TestReplaceRefusesWrongMarkers(t *testing.T) {
	t.Parallel()
	const begin, end = report.Begin + "\n", report.End + "\n"
	tests := map[string]struct{ file, generated, want string }{
		"empty_file":        {"", "NEW", "no line"},
		"no_begin":          {"a\n" + end, "NEW", "no line \"<!-- results"},
		"no_end":            {begin + "a\n", "NEW", "no line \"<!-- end"},
		"begin_in_a_line":   {"x " + begin + end, "NEW", "no line \"<!-- results"},
		"begin_twice":       {begin + begin + end, "NEW", "2 lines \"<!-- results"},
		"end_twice":         {begin + end + "b\n" + end, "NEW", "2 lines \"<!-- end"},
		"out_of_order":      {end + "a\n" + begin, "NEW", "stands before"},
		"begin_generated":   {begin + end, "NEW\n" + begin, "generated text has"},
		"end_generated":     {begin + end, end + "NEW", "generated text has"},
		"on_the_same_line":  {report.Begin + report.End, "NEW", "no line"},
		"end_and_then_both": {end + begin + end, "NEW", "2 lines \"<!-- end"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := report.Replace([]byte(test.file), test.generated)
			if err == nil || got != nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, %v; want an error with %q", got, err, test.want)
			}
		})
	}
}

func TestReplaceTakesWhatMarkdownGives(t *testing.T) {
	t.Parallel()
	r := full()
	r.Scenarios[0].Rows[1].Failures = []string{"printed\n" + report.End + "\nand went on"}
	r.Command = report.Begin
	file := []byte("a\n" + report.Begin + "\n" + report.End + "\nb\n")
	once, err := report.Replace(file, r.Markdown(plots))
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := report.Replace(once, r.Markdown(plots)); err != nil || string(twice) != string(once) {
		t.Errorf("the second time: %v", err)
	}
}

func TestWriteFileReplacesTheWholeFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "page.md")
	for _, data := range []string{"first and long", "second", ""} {
		if err := report.WriteFile(file, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(file); err != nil || string(b) != data {
			t.Errorf("read %q, %v, want %q", b, err, data)
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode() != 0o644 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		wantOnly(t, dir, "page.md")
	}
}

// Who has opened the old file reads it to its end.
func TestWriteFileLeavesTheOldFileToItsReaders(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "page.md")
	if err := report.WriteFile(file, []byte("old")); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := report.WriteFile(file, []byte("new and longer")); err != nil {
		t.Fatal(err)
	}
	var old bytes.Buffer
	if _, err := old.ReadFrom(f); err != nil || old.String() != "old" {
		t.Errorf("read %q, %v", old.String(), err)
	}
}

func TestWriteFileLeavesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := report.WriteFile(filepath.Join(dir, "none", "page.md"), nil); err == nil {
		t.Error("no error for a folder that there is not")
	}
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "by a folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := report.WriteFile(taken, []byte("new")); err == nil {
		t.Error("no error where there is a folder")
	}
	wantOnly(t, dir, "taken")
}

// wantOnly looks for files that were left behind.
func wantOnly(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("in the folder are %v, %v, want only %s", names(entries), err, name)
	}
}

func names(entries []fs.DirEntry) (list []string) {
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
