package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/fsnotify/fsnotify"
)

// files tells that one of a few files may have changed. It watches their folders, since an editor, a kubelet and anybody careful replace a file
// rather than write into it: a kubelet turns a link beside it. It belongs to one goroutine.
type files struct {
	watcher *fsnotify.Watcher
	folders []string // that are watched, sorted
}

func openFiles() (*files, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("opening inotify: %w", err)
	}
	return &files{watcher: w}, nil
}

// watch makes these the files that are watched. A folder that isn't there is an error, and is tried again with the next call.
func (f *files) watch(paths []string) error {
	var want []string
	for _, path := range paths {
		want = append(want, filepath.Dir(path))
	}
	slices.Sort(want)
	want = slices.Compact(want)
	for _, folder := range f.folders {
		if !slices.Contains(want, folder) {
			_ = f.watcher.Remove(folder) // gone, perhaps
		}
	}
	f.folders = nil
	var errs []error
	for _, folder := range want {
		if err := f.watcher.Add(folder); err != nil {
			errs = append(errs, fmt.Errorf("watching %s: %w", folder, err))
			continue
		}
		f.folders = append(f.folders, folder)
	}
	return errors.Join(errs...)
}

// changed tells that something happened in a folder.
func (f *files) changed() <-chan fsnotify.Event { return f.watcher.Events }

// missed tells that what happened may have been missed.
func (f *files) missed() <-chan error { return f.watcher.Errors }

func (f *files) close() { _ = f.watcher.Close() }
