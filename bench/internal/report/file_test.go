package report_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ginsse/ginsse/bench/internal/report"
)

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

func TestWriteFileDoesNotChangeTheFileThatAReaderHasOpen(t *testing.T) {
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
		t.Error("no error for a missing folder")
	}
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "by a folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := report.WriteFile(taken, []byte("new")); err == nil {
		t.Error("no error for a path that is a folder")
	}
	wantOnly(t, dir, "taken")
}

// wantOnly fails the test if the folder has other files, such as temporary ones.
func wantOnly(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("the folder has %v, %v, want only %s", names(entries), err, name)
	}
}

func names(entries []fs.DirEntry) (list []string) {
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
