package bgp

import (
	"context"
	"log/slog"
	"strings"
)

// gobgpHandler passes GoBGP's log on as ours: a level lower, since what it calls news is none for an operator, and with our keys. What it says of an
// error with a peer it tells besides.
type gobgpHandler struct {
	next slog.Handler
	peer string
	tell func(peer, why string)
}

func newGoBGPHandler(next slog.Handler, tell func(peer, why string)) slog.Handler {
	return gobgpHandler{next: next, tell: tell}
}

func (h gobgpHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h gobgpHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "Key" {
			h.peer = a.Value.String()
		}
	}
	return h
}

func (h gobgpHandler) WithGroup(string) slog.Handler { return h }

func (h gobgpHandler) Handle(ctx context.Context, r slog.Record) error {
	level := slog.LevelDebug
	if r.Level >= slog.LevelError {
		level = slog.LevelWarn
	}
	out := slog.NewRecord(r.Time, level, r.Message, r.PC)
	peer := h.peer
	var code, subcode int64
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "Key":
			peer = a.Value.String()
		case "Error", "Err":
			if peer != "" {
				h.tell(peer, a.Value.String())
			}
			out.AddAttrs(slog.String("err", a.Value.String()))
		case "Code":
			code = a.Value.Int64()
		case "Subcode":
			subcode = a.Value.Int64()
		case "State":
			out.AddAttrs(slog.String("state", a.Value.String()))
		}
		return true
	})
	if code != 0 && peer != "" {
		who := "the router says: "
		if strings.HasPrefix(r.Message, "sent") {
			who = "told the router: "
		}
		why := who + notification(code, subcode)
		h.tell(peer, why)
		out.AddAttrs(slog.String("err", why))
	}
	if !h.next.Enabled(ctx, level) {
		return nil
	}
	if peer != "" {
		out.AddAttrs(slog.String("peer", peer))
	}
	return h.next.Handle(ctx, out)
}
