package report

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The lines of a file between which the generated part stands.
const (
	Begin = "<!-- results: written by go run ./bench -write -->"
	End   = "<!-- end of results -->"
)

// Replace puts the generated part between the lines [Begin] and [End] of a file. All
// else stays as it is, byte for byte.
func Replace(file []byte, generated string) ([]byte, error) {
	for _, marker := range []string{Begin, End} {
		if _, _, n := find([]byte(generated), marker); n > 0 {
			return nil, fmt.Errorf("generated text has a line %q itself", marker)
		}
		switch _, _, n := find(file, marker); {
		case n == 0:
			return nil, fmt.Errorf("no line %q", marker)
		case n > 1:
			return nil, fmt.Errorf("%d lines %q, want one", n, marker)
		}
	}
	_, start, _ := find(file, Begin)
	end, _, _ := find(file, End)
	if end < start {
		return nil, fmt.Errorf("line %q stands before line %q", End, Begin)
	}
	var b bytes.Buffer
	b.Write(file[:start])
	b.WriteString("\n" + strings.Trim(generated, "\n") + "\n\n")
	b.Write(file[end:])
	return b.Bytes(), nil
}

// find returns where the first line that is the marker begins and ends, its line
// break included, and how many there are. A marker within a line is text about it.
func find(file []byte, marker string) (start, end, count int) {
	at := 0
	for line := range bytes.Lines(file) {
		if string(bytes.TrimSpace(line)) == marker {
			if count == 0 {
				start, end = at, at+len(line)
			}
			count++
		}
		at += len(line)
	}
	return start, end, count
}

// WriteFile writes a file that all may read, as a whole or not at all: whoever reads
// it meanwhile, or after the machine has stopped, finds the old one or the new one.
func WriteFile(path string, data []byte) error {
	// A rename is one step within a folder only.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
