package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gridloom/gridloom"
	"github.com/gridloom/gridloom/aggregate/members"
	"github.com/gridloom/gridloom/internal/pane"
	"github.com/gridloom/gridloom/stream"
)

// Owners and queries in processes of their own speak through NATS: package stream
// carries questions and chunks, package pane knows what is in them, and here they meet.

// serveOwner answers other processes for a partition that the worker here has claimed.
func (p *pipeline) serveOwner(partition int, epoch uint64) (withdraw func()) {
	stop, err := p.stream.ServeOwner(partition, epoch, func(ctx context.Context, kind string, question []byte, send func([]byte) error) error {
		switch kind {
		case stream.AskTail:
			sel, err := pane.DecodeSelector(question)
			if err != nil {
				return err
			}
			tail, err := p.worker.Tail(ctx, partition, sel)
			if err != nil {
				return err
			}
			return pane.EncodeTail(tail, send)
		case stream.AskSeries:
			infos, err := p.worker.Series(ctx, partition)
			if err != nil {
				return err
			}
			return pane.EncodeSeries(infos, send)
		default:
			st, err := p.worker.PartitionStatus(ctx, partition)
			if err != nil {
				return err
			}
			text, err := json.Marshal(st)
			if err != nil {
				return err
			}
			return send(text)
		}
	})
	if err != nil {
		p.logger.Error("the partition cannot be asked by other processes", "partition", partition, "epoch", epoch, "err", err)
		return func() {}
	}
	return stop
}

// peers carries the beats of package members over NATS.
type peers struct {
	circle *stream.Circle
	beats  chan members.Beat
}

// heldBeats is how many beats wait for their reader; what comes beyond is lost, as beats may be.
const heldBeats = 256

// joinPeers takes a place under a node's name.
func joinPeers(s *stream.Stream, node string, logger *slog.Logger) (*peers, error) {
	p := &peers{beats: make(chan members.Beat, heldBeats)}
	var err error
	p.circle, err = s.Join(node, func(text []byte) stream.Unheard {
		var b members.Beat
		if err := json.Unmarshal(text, &b); err != nil {
			logger.Warn("a member cannot be understood", "err", err)
			return stream.Unreadable
		}
		select {
		case p.beats <- b:
			return stream.Heard
		default:
			return stream.Waiting
		}
	})
	return p, err
}

// Say implements aggregate.Peers.
func (p *peers) Say(b members.Beat) error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return p.circle.Say(text)
}

// Beats implements aggregate.Peers.
func (p *peers) Beats() <-chan members.Beat { return p.beats }

// remoteOwners asks the owners of partitions in other processes.
type remoteOwners struct {
	s          *stream.Stream
	partitions int
}

// Tail implements query.Owners.
func (o remoteOwners) Tail(ctx context.Context, partition int, sel pane.Selector) (*pane.Tail, error) {
	question, err := pane.EncodeSelector(sel)
	if err != nil {
		return nil, err
	}
	r, err := o.ask(ctx, stream.AskTail, partition, question)
	if err != nil {
		return nil, err
	}
	return r.Tail()
}

// Series implements query.Owners.
func (o remoteOwners) Series(ctx context.Context, partition int) ([]pane.SeriesInfo, error) {
	r, err := o.ask(ctx, stream.AskSeries, partition, nil)
	if err != nil {
		return nil, err
	}
	return r.Series()
}

func (o remoteOwners) ask(ctx context.Context, kind string, partition int, question []byte) (*pane.TailReader, error) {
	var r *pane.TailReader
	err := o.s.AskOwner(ctx, kind, partition, question, func() func([]byte) error {
		r = new(pane.TailReader)
		return r.Add
	})
	return r, err
}

// How long /status and /readyz wait for an owner, and how many they ask at once.
const (
	statusWait   = time.Second
	statusAtOnce = 16
)

// Status implements query.Owners. A partition whose owner does not answer is left out.
func (o remoteOwners) Status(ctx context.Context) ([]pane.Status, error) {
	states := make([]*pane.Status, o.partitions)
	var g errgroup.Group
	g.SetLimit(statusAtOnce)
	for id := range states {
		g.Go(func() error {
			octx, cancel := context.WithTimeout(ctx, statusWait)
			defer cancel()
			var st pane.Status
			err := o.s.AskOwner(octx, stream.AskStatus, id, nil, func() func([]byte) error {
				return func(text []byte) error { return json.Unmarshal(text, &st) }
			})
			switch {
			case err == nil:
				states[id] = &st
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, gridloom.ErrCorrupt): // the head itself
				states[id] = &pane.Status{Partition: id, State: "unowned", Problem: err.Error()}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("%w: ask the owners: %w", gridloom.ErrUnavailable, err)
	}
	var known []pane.Status
	for _, st := range states {
		if st != nil {
			known = append(known, *st)
		}
	}
	return known, nil
}
