package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/gridloom/gridloom"
)

// The server's error codes that nats.go has no names for.
const (
	codeStreamCreate  jetstream.ErrorCode = 10049 // stream could not be created: sporadic, try again
	codeStoreFailed   jetstream.ErrorCode = 10077 // store refused: log full, disk full
	codeReservations  jetstream.ErrorCode = 10047 // more bytes reserved than the server may use
	codeOverlap       jetstream.ErrorCode = 10065 // another stream has these subjects
	codeNoResources   jetstream.ErrorCode = 10023
	codeAccountStores jetstream.ErrorCode = 10002
)

// kindOf wraps a NATS error with what was tried and the kind that the caller acts
// on. An error that has a kind keeps it. What is not known may pass by itself:
// ErrUnavailable, because nothing may be given up for an unknown reason.
func kindOf(op string, err error) error {
	for _, kind := range []error{gridloom.ErrInvalid, gridloom.ErrNotFound, gridloom.ErrUnavailable, gridloom.ErrFenced, gridloom.ErrCorrupt} {
		if errors.Is(err, kind) {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	return fmt.Errorf("%s: %w: %w", op, kind(err), err)
}

func kind(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound), errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
		return gridloom.ErrNotFound
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum):
		return gridloom.ErrInvalid
	}
	return gridloom.ErrUnavailable
}

// isConflict reports whether a compare-and-set lost: 10071 says which sequence is
// there, 10164 is the same from a replicated stream.
func isConflict(err error) bool {
	return hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence) || hasCode(err, jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

func hasCode(err error, code jetstream.ErrorCode) bool {
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.ErrorCode == code
	}
	var js jetstream.JetStreamError
	return errors.As(err, &js) && js.APIError() != nil && js.APIError().ErrorCode == code
}

// isFull reports whether the log refused because it holds MaxBytes already.
func isFull(err error) bool {
	return hasCode(err, codeStoreFailed) && strings.Contains(err.Error(), "maximum bytes")
}

// isLost reports whether a request may have been carried out without an answer.
func isLost(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrDisconnected) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrReconnectBufExceeded)
}
