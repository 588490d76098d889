package report

import (
	"errors"
	"os"
	"path/filepath"
)

// WriteFile writes a file with mode 0644, as a whole or not at all: a reader, or a
// machine that stops meanwhile, finds the old file or the new one.
func WriteFile(path string, data []byte) error {
	// A rename is atomic only within a folder.
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
