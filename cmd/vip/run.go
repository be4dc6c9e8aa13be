package main

import (
	"context"
	"errors"
	"log/slog"
)

// run is the agent, until ctx ends.
func run(_ context.Context, _ Loaded, _ *slog.Logger) error {
	return errors.New("the agent is not built into this version yet")
}
