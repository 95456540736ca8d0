package device

import (
	"fmt"
	"strings"

	"github.com/gridloom/gridloom"
)

// Exports say in words of their own which register a row is of and how good it is.

// words splits "A=x,B=y" and hands on each pair, without blanks around them.
func words(list string, pair func(word, meaning string) error) error {
	for part := range strings.SplitSeq(list, ",") {
		if part == "" {
			continue
		}
		word, meaning, ok := strings.Cut(part, "=")
		if !ok {
			return fmt.Errorf("%w: %q is not word=meaning", gridloom.ErrInvalid, part)
		}
		if err := pair(strings.TrimSpace(word), strings.TrimSpace(meaning)); err != nil {
			return err
		}
	}
	return nil
}

// parseRegisters reads cfg.Registers and checks what the column register goes with.
func (m *columns) parseRegisters(cfg *ReplayConfig) error {
	switch {
	case !m.register.wanted && cfg.Registers == "":
		return nil
	case !m.register.wanted:
		return fmt.Errorf("%w: registers %q: want a column register= in the map", gridloom.ErrInvalid, cfg.Registers)
	case len(m.values) != 1:
		return fmt.Errorf("%w: map %q: with register= want one column value=", gridloom.ErrInvalid, cfg.Map)
	case m.longest != 0:
		return fmt.Errorf("%w: length next: want registers in columns of their own, not in rows", gridloom.ErrInvalid)
	}
	m.registers = map[string]valueColumn{}
	err := words(cfg.Registers, func(word, name string) (err error) {
		m.registers[word], err = m.value(name, m.unit, column{})
		return err
	})
	if err != nil {
		return fmt.Errorf("registers %q: %w", cfg.Registers, err)
	}
	return nil
}

// registerOf returns register and scale that text stands for.
func (m *columns) registerOf(text []byte) (valueColumn, error) {
	v, ok := m.registers[string(text)]
	if ok {
		return v, nil
	}
	if _, ok := gridloom.RegisterByName(string(text)); !ok {
		return v, fmt.Errorf("%w: register %q: want one that --registers names, or an alias or OBIS code", gridloom.ErrInvalid, text)
	}
	return m.value(string(text), m.unit, column{})
}

// parseQualities reads cfg.Qualities.
func (m *columns) parseQualities(cfg *ReplayConfig) error {
	if !m.quality.wanted && cfg.Qualities != "" {
		return fmt.Errorf("%w: qualities %q: want a column quality= in the map", gridloom.ErrInvalid, cfg.Qualities)
	}
	m.qualities = map[string]gridloom.Quality{"": 0}
	err := words(cfg.Qualities, func(word, names string) (err error) {
		m.qualities[word], err = parseQuality(names)
		return err
	})
	if err != nil {
		return fmt.Errorf("qualities %q: %w", cfg.Qualities, err)
	}
	return nil
}

// qualityOf returns what a row says of itself.
func (m *columns) qualityOf(fields [][]byte) (gridloom.Quality, error) {
	if !m.quality.wanted {
		return 0, nil
	}
	text, err := m.quality.of(fields)
	if err != nil {
		return 0, err
	}
	q, ok := m.qualities[string(text)]
	if !ok {
		if q, err = parseQuality(string(text)); err != nil {
			return 0, fmt.Errorf("quality %q is no word of --qualities: %w", text, err)
		}
	}
	return q, nil
}

// parseQuality reads names of bits that a device may set, with | between them; "" is none.
func parseQuality(names string) (q gridloom.Quality, err error) {
	for name := range strings.SplitSeq(names, "|") {
		if name == "" {
			continue
		}
		bit, err := gridloom.ParseQuality(name)
		if err != nil {
			return 0, err
		}
		if bit&^gridloom.DeviceQuality != 0 {
			return 0, fmt.Errorf("%w: %s is decided by gridloom: a row may say %s", gridloom.ErrInvalid, bit, gridloom.DeviceQuality)
		}
		q |= bit
	}
	return q, nil
}
