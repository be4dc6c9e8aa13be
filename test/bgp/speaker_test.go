package bgp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"daymark/internal/bgp"
	"daymark/test/netns"
	"daymark/test/require"
)

// speaker is a speaker that runs on a host.
type speaker struct {
	t       *testing.T
	host    *netns.Host
	command *netns.Command
	client  *http.Client
}

func startSpeaker(t *testing.T, host *netns.Host) *speaker {
	t.Helper()
	socket := filepath.Join(require.Value(os.MkdirTemp("", "s"))(t), "sock") // short: a socket's path has 108 bytes
	command := host.Command(require.Value(os.Executable())(t))
	command.Env, command.Label = []string{speakerKey + "=" + socket}, "speaker"
	require.NoError(t, command.Start())
	s := &speaker{t: t, host: host, command: command, client: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
	eventually(t, 10*time.Second, "the speaker listens", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	return s
}

func (s *speaker) order(path string, o order) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	answer, err := s.client.Post("http://speaker"+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, text)
	}
	return err
}

func (s *speaker) configure(c settings) {
	s.t.Helper()
	require.NoError(s.t, s.order("/configure", order{Config: &c}))
}

func (s *speaker) set(addrs ...address) {
	s.t.Helper()
	require.NoError(s.t, s.order("/set", order{Addrs: addrs}))
}

func (s *speaker) report() report {
	s.t.Helper()
	var r report
	answer, err := s.client.Get("http://speaker/report")
	require.NoError(s.t, err)
	defer answer.Body.Close()
	require.NoError(s.t, json.NewDecoder(answer.Body).Decode(&r))
	return r
}

func (s *speaker) peer(name string) bgp.PeerState {
	s.t.Helper()
	for _, p := range s.report().Peers {
		if p.Peer == name {
			return p
		}
	}
	return bgp.PeerState{}
}

// up waits until the session with every named peer is up.
func (s *speaker) up(peers ...string) {
	s.t.Helper()
	for _, name := range peers {
		eventually(s.t, 30*time.Second, "session with "+name+" up", func() bool { return s.peer(name).Established() })
	}
}

func (s *speaker) stop() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(s.t, s.command.Stop(ctx))
}

func addr(prefix string) address { return address{Prefix: netip.MustParsePrefix(prefix)} }

func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

func netipPrefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func grepLine(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func netipAddr(text string) netip.Addr { return netip.MustParseAddr(text) }
