package provider_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"

	"daymark/provider"
)

// sentEvents is a sink that remembers; fail, while there are any, are its answers.
type sentEvents struct {
	record.EventSink
	mu   sync.Mutex
	sent []string
	fail []error
}

func (s *sentEvents) Create(e *corev1.Event) (*corev1.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fail) > 0 {
		err := s.fail[0]
		s.fail = s.fail[1:]
		return nil, err
	}
	s.sent = append(s.sent, e.Message)
	return e, nil
}

// take returns what was sent since it was called last.
func (s *sentEvents) take() []string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.sent = nil }()
	return s.sent
}

func TestLateEvents(t *testing.T) {
	event := func(kind string, i int) *corev1.Event { return &corev1.Event{Type: kind, Message: fmt.Sprint(kind, i)} }
	for name, story := range map[string]func(t *testing.T, sent *sentEvents, create func(kind string, from, to int)){
		"one Event goes at once": func(t *testing.T, sent *sentEvents, create func(string, int, int)) {
			create("Normal", 0, 1)
			want(t, sent, "Normal0")
		},
		"in a storm few go, after it all": func(t *testing.T, sent *sentEvents, create func(string, int, int)) {
			for i := range 500 {
				create("Normal", i, i+1)
				time.Sleep(10 * time.Millisecond)
			}
			during := len(sent.take())
			if during > 51 || during < 45 {
				t.Errorf("%d of 500 sent during a storm of 5 s", during)
			}
			time.Sleep(2 * time.Second)
			if after := len(sent.take()); during+after != 500 {
				t.Errorf("%d sent, then %d", during, after)
			}
		},
		"a Warning doesn't wait": func(t *testing.T, sent *sentEvents, create func(string, int, int)) {
			create("Normal", 0, 3)
			want(t, sent, "Normal0")
			create("Warning", 0, 2)
			want(t, sent, "Warning0", "Warning1")
			time.Sleep(2 * time.Second)
			want(t, sent, "Normal1", "Normal2")
		},
		"more than may wait are sent at once, none is lost": func(t *testing.T, sent *sentEvents, create func(string, int, int)) {
			create("Normal", 0, 3000)
			if got := len(sent.take()); got < 1500 {
				t.Errorf("only %d of 3000 sent", got)
			} else {
				time.Sleep(3 * time.Second)
				if rest := len(sent.take()); got+rest != 3000 {
					t.Errorf("%d sent, then %d", got, rest)
				}
			}
		},
		"an API server that isn't there is asked again": func(t *testing.T, sent *sentEvents, create func(string, int, int)) {
			sent.fail = []error{errors.New("no route to host"), errors.New("no route to host")}
			create("Normal", 0, 1)
			want(t, sent)
			time.Sleep(3 * time.Second)
			want(t, sent, "Normal0")
		},
		"what it rejects is dropped": func(t *testing.T, sent *sentEvents, create func(string, int, int)) {
			sent.fail = []error{&apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusForbidden}}}
			create("Normal", 0, 2)
			time.Sleep(3 * time.Second)
			want(t, sent, "Normal1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := &sentEvents{}
				late := provider.NewLateEvents(sent, slog.New(slog.DiscardHandler))
				go late.Run(t.Context())
				story(t, sent, func(kind string, from, to int) {
					for i := from; i < to; i++ {
						if _, err := late.Create(event(kind, i)); err != nil {
							t.Error(err)
						}
					}
				})
			})
		})
	}
}

func want(t *testing.T, sent *sentEvents, messages ...string) {
	t.Helper()
	if d := cmp.Diff(messages, sent.take()); d != "" {
		t.Error(d)
	}
}
