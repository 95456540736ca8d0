package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/gridloom/gridloom"
)

// The owner of a partition answers on one subject a kind of question, which names
// its epoch: a question to an owner that has lost the partition finds nobody. An
// answer is a row of chunks, each with its number, and a last message with their
// count or with the reason why there are no more (docs/format/subjects.md).
const (
	headerWait  = "Gridloom-Wait"  // of a question: how long the asker waits, as of time.Duration
	headerChunk = "Gridloom-Chunk" // of a chunk: its number, from 0
	headerEnd   = "Gridloom-End"   // of the last message: how many chunks there were
	headerError = "Gridloom-Error" // of the last message: the kind of failure; its body is the text
)

const (
	// creditChunks is how many chunks may be on their way: what a connection, and the
	// server between, hold of one answer. 2 MiB.
	creditChunks = 4
	// askedBytes bounds what waits at the asker, where single rows may be as large as a message.
	askedBytes = 2 * creditChunks << 20
	askedMsgs  = 4 * creditChunks

	answersAtOnce = 8 // of one process: each holds a copy of its rows
	waitingAsks   = 256
	waitingBytes  = 4 << 20

	defaultWait = 2 * time.Second // of a question that does not say
	mostWait    = 10 * time.Minute
)

// Kinds of questions that an owner answers.
const (
	AskTail   = "tail"
	AskSeries = "series"
	AskStatus = "status"
)

var askKinds = []string{AskTail, AskSeries, AskStatus}

func ownerSubject(kind string, partition int, epoch uint64) string {
	return fmt.Sprintf("gridloom.%s.%d.%d", kind, partition, epoch)
}

// Answerer answers a question of a kind: it hands its chunks to send, which may wait
// until the asker has taken earlier ones. It must end soon after ctx does.
type Answerer func(ctx context.Context, kind string, question []byte, send func(chunk []byte) error) error

// ServeOwner answers questions to the owner of a partition in an epoch until the
// returned function is called. Answers under way are then finished, for as long as
// their askers wait; Close waits for them.
func (s *Stream) ServeOwner(partition int, epoch uint64, answer Answerer) (stop func(), err error) {
	if err := s.checkPartition(partition); err != nil {
		return nil, err
	}
	var subs []*nats.Subscription
	stop = func() {
		for _, sub := range subs {
			// Not Unsubscribe, which forgets questions that have arrived: their askers would
			// wait in vain.
			_ = sub.Drain() // the connection is gone at worst
		}
	}
	for _, kind := range askKinds {
		// One callback at a time: it waits for its turn, and what waits behind it is bounded.
		sub, err := s.nc.Subscribe(ownerSubject(kind, partition, epoch), func(m *nats.Msg) {
			ctx, done := context.WithTimeout(context.Background(), waitOf(m))
			select {
			case s.answering <- struct{}{}:
			case <-ctx.Done(): // nobody waits any more
				done()
				s.met.answerFailures.Inc()
				return
			}
			s.answers.Go(func() {
				defer func() { done(); <-s.answering }()
				s.answerOne(ctx, kind, m, answer)
			})
		})
		if err != nil {
			stop()
			return nil, kindOf(fmt.Sprintf("serve partition %d", partition), err)
		}
		subs = append(subs, sub)
		if err := sub.SetPendingLimits(waitingAsks, waitingBytes); err != nil {
			stop()
			return nil, kindOf(fmt.Sprintf("serve partition %d", partition), err)
		}
	}
	return stop, nil
}

// waitOf is how long the asker of m waits.
func waitOf(m *nats.Msg) time.Duration {
	d, err := time.ParseDuration(m.Header.Get(headerWait))
	if err != nil || d <= 0 {
		return defaultWait
	}
	return min(d, mostWait)
}

func (s *Stream) answerOne(ctx context.Context, kind string, m *nats.Msg, answer Answerer) {
	w := &answerWriter{s: s, to: m.Reply}
	defer w.close()
	err := answer(ctx, kind, m.Data, func(chunk []byte) error { return w.send(ctx, chunk) })
	if err == nil {
		err = w.end()
	} else if ctx.Err() == nil {
		err = errors.Join(err, w.fail(err))
	}
	if err != nil {
		s.met.answerFailures.Inc()
		s.log.Debug("an owner's answer was not sent", "err", err)
		return
	}
	s.met.answers.Inc()
}

// answerWriter sends the chunks of one answer. The first creditChunks go at once;
// from the last of them on each names an inbox, where the asker says what it has
// taken, and no more than creditChunks are ahead of that.
type answerWriter struct {
	s     *Stream
	to    string
	next  int
	taken int // chunks that the asker has
	inbox string
	sub   *nats.Subscription
}

func (w *answerWriter) send(ctx context.Context, chunk []byte) error {
	m := nats.NewMsg(w.to)
	m.Header.Set(headerChunk, strconv.Itoa(w.next))
	m.Data = chunk
	if w.next >= creditChunks-1 {
		if err := w.credit(ctx); err != nil {
			return err
		}
		m.Reply = w.inbox
	}
	if err := w.s.nc.PublishMsg(m); err != nil {
		return kindOf("answer", err)
	}
	w.next++
	w.s.met.answerBytes.Add(float64(len(chunk)))
	return nil
}

// credit waits until another chunk may go.
func (w *answerWriter) credit(ctx context.Context) error {
	if w.sub == nil {
		w.inbox = w.s.nc.NewInbox()
		sub, err := w.s.nc.SubscribeSync(w.inbox)
		if err != nil {
			return kindOf("answer", err)
		}
		w.sub = sub
	}
	for w.next >= w.taken+creditChunks {
		m, err := w.sub.NextMsgWithContext(ctx)
		if err != nil {
			return fmt.Errorf("answer: %w: the asker took %d chunks of %d and then no more: %w", gridloom.ErrUnavailable, w.taken, w.next, err)
		}
		n, err := strconv.Atoi(string(m.Data))
		if err != nil || n < 0 || n >= w.next {
			return fmt.Errorf("%w: answer: the asker says that it took chunk %q of %d", gridloom.ErrInvalid, m.Data, w.next)
		}
		w.taken = max(w.taken, n+1)
	}
	return nil
}

func (w *answerWriter) end() error {
	m := nats.NewMsg(w.to)
	m.Header.Set(headerEnd, strconv.Itoa(w.next))
	return w.s.nc.PublishMsg(m)
}

func (w *answerWriter) fail(err error) error {
	m := nats.NewMsg(w.to)
	m.Header.Set(headerError, strings.Join(kindsOf(err), ","))
	m.Data = []byte(err.Error())
	return w.s.nc.PublishMsg(m)
}

func (w *answerWriter) close() {
	if w.sub != nil {
		_ = w.sub.Unsubscribe() // the connection is gone at worst
	}
}

// kindNames are the kinds of failure as they travel.
var kindNames = []struct {
	name string
	kind error
}{
	{"invalid", gridloom.ErrInvalid},
	{"not_found", gridloom.ErrNotFound},
	{"unavailable", gridloom.ErrUnavailable},
	{"fenced", gridloom.ErrFenced},
	{"corrupt", gridloom.ErrCorrupt},
}

func kindsOf(err error) (names []string) {
	for _, k := range kindNames {
		if errors.Is(err, k.kind) {
			names = append(names, k.name)
		}
	}
	if names == nil {
		names = []string{"unavailable"}
	}
	return names
}

// remoteError is what another process said: its text, and the kinds that it named.
type remoteError struct {
	text  string
	kinds []error
}

func newRemoteError(kinds, text string) error {
	e := &remoteError{text: text}
	for name := range strings.SplitSeq(kinds, ",") {
		for _, k := range kindNames {
			if k.name == name {
				e.kinds = append(e.kinds, k.kind)
			}
		}
	}
	if e.kinds == nil {
		e.kinds = []error{gridloom.ErrUnavailable}
	}
	return e
}

// Error implements error.
func (e *remoteError) Error() string { return e.text }

// Unwrap tells the kinds.
func (e *remoteError) Unwrap() []error { return e.kinds }
