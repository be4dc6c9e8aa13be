package main

import (
	"log/slog"
	"time"

	"daymark/internal/agent"
	"daymark/internal/datapath"
	"daymark/internal/election"
)

// Fitness is fitness, with a carrier.
type Fitness struct {
	fitness
	Carrier carrier
}

// NewFitness returns one over electors, which gives up so long after the link went down.
func NewFitness(after time.Duration, changed func(bool), log *slog.Logger, electors ...*election.Healthy) *Fitness {
	f := &Fitness{}
	f.Carrier = carrier{fitness: &f.fitness, after: after, changed: changed, log: log}
	for _, e := range electors {
		f.add(e)
	}
	return f
}

// Add is add.
func (f *Fitness) Add(e *election.Healthy) { f.add(e) }

// Yield is yield.
func (f *Fitness) Yield(who, reason string) { f.yield(who, reason) }

// Refuse is refuse.
func (f *Fitness) Refuse(only *election.Healthy, who string, refused bool) {
	f.refuse(only, who, refused)
}

// Down is the carrier's set.
func (f *Fitness) Down(link string) { f.Carrier.set(link) }

// Stations is stations.
var Stations = stations

// UnmapProgram is unmapProgram.
var UnmapProgram = unmapProgram

// ParseMapping returns what a line of smaps says of a mapping.
func ParseMapping(line string) (from, to uintptr, writable bool, file string, ok bool) {
	m, ok := parseMapping(line)
	return m.from, m.to, m.writable, m.file, ok
}

// Surroundings is surroundings.
type Surroundings struct{ surroundings }

// NewSurroundings returns those of a node that tells of them.
func NewSurroundings(node string, tell func(agent.Surroundings)) *Surroundings {
	return &Surroundings{surroundings{node: node, tell: tell}}
}

// SetLinks is setLinks.
func (s *Surroundings) SetLinks(links []datapath.Link) { s.setLinks(links) }

// SetDefaults is setDefaults.
func (s *Surroundings) SetDefaults(defaults []datapath.Default) { s.setDefaults(defaults) }
