package gridloom

import (
	"fmt"
	"strings"
)

// Kind says how a register's readings become energy or statistics.
type Kind uint8

// The kinds of registers.
const (
	Counter  Kind = iota + 1 // cumulative: energy is the difference of two readings
	Interval                 // an amount over [start, start+length)
	Gauge                    // an instantaneous value
	Event                    // a count or state that is listed and never interpolated
)

var kindNames = [...]string{"", "counter", "interval", "gauge", "event"}

// String returns the kind's word in JSON and docs.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// RegisterID is the place of a register in the catalog of this build. It is never
// stored or sent: files and messages carry the OBIS code.
type RegisterID uint16

// Register is one measured channel, named by its OBIS code (IEC 62056-61) with a
// readable alias. Values are stored in thousandths of Unit (UCUM).
type Register struct {
	Code  string // "1-0:1.8.0"
	Alias string // "energy_import"
	Unit  string // UCUM: Wh, var.h, W, var, V, A, Hz, L, 1
	Kind  Kind
}

// Info returns the catalog's entry. It panics if id is not of the catalog.
func (id RegisterID) Info() *Register { return &catalog[id] }

// String returns the alias.
func (id RegisterID) String() string { return catalog[id].Alias }

// Registers returns the number of registers in the catalog; ids are 0 to Registers()-1.
func Registers() int { return len(catalog) }

// RegisterByName finds a register by OBIS code or alias.
func RegisterByName(name string) (RegisterID, bool) {
	id, ok := byName[name]
	return id, ok
}

// IntervalSibling returns the interval register (D=29) that takes readings with a
// length for the counter id; ok is false if id is no counter or has none.
func IntervalSibling(id RegisterID) (RegisterID, bool) {
	r := &catalog[id]
	if r.Kind != Counter {
		return 0, false
	}
	s, ok := byName[r.Alias+"_interval"]
	return s, ok
}

var catalog, byName = buildCatalog()

// buildCatalog lists the registers. Entries may be added anywhere: ids are not stored.
func buildCatalog() ([]Register, map[string]RegisterID) {
	var rs []Register
	add := func(code, alias, unit string, k Kind) { rs = append(rs, Register{code, alias, unit, k}) }
	for _, e := range []struct{ c, alias, unit string }{
		{"1", "energy_import", "Wh"},
		{"2", "energy_export", "Wh"},
		{"3", "reactive_energy_import", "var.h"},
		{"4", "reactive_energy_export", "var.h"},
	} {
		add("1-0:"+e.c+".8.0", e.alias, e.unit, Counter)
		for t := 1; t <= 4; t++ {
			add(fmt.Sprintf("1-0:%s.8.%d", e.c, t), fmt.Sprintf("%s_t%d", e.alias, t), e.unit, Counter)
		}
		add("1-0:"+e.c+".29.0", e.alias+"_interval", e.unit, Interval)
		for t := 1; t <= 4; t++ {
			add(fmt.Sprintf("1-0:%s.29.%d", e.c, t), fmt.Sprintf("%s_t%d_interval", e.alias, t), e.unit, Interval)
		}
	}
	for _, g := range []struct{ code, alias, unit string }{
		{"1-0:1.7.0", "power_import", "W"},
		{"1-0:2.7.0", "power_export", "W"},
		{"1-0:16.7.0", "power", "W"},
		{"1-0:3.7.0", "reactive_power_import", "var"},
		{"1-0:4.7.0", "reactive_power_export", "var"},
		{"1-0:21.7.0", "power_import_l1", "W"},
		{"1-0:41.7.0", "power_import_l2", "W"},
		{"1-0:61.7.0", "power_import_l3", "W"},
		{"1-0:22.7.0", "power_export_l1", "W"},
		{"1-0:42.7.0", "power_export_l2", "W"},
		{"1-0:62.7.0", "power_export_l3", "W"},
		{"1-0:32.7.0", "voltage_l1", "V"},
		{"1-0:52.7.0", "voltage_l2", "V"},
		{"1-0:72.7.0", "voltage_l3", "V"},
		{"1-0:31.7.0", "current_l1", "A"},
		{"1-0:51.7.0", "current_l2", "A"},
		{"1-0:71.7.0", "current_l3", "A"},
		{"1-0:14.7.0", "frequency", "Hz"},
		{"1-0:13.7.0", "power_factor", "1"},
		{"1-0:1.4.0", "demand_import", "W"},
		{"1-0:1.6.0", "demand_import_max", "W"},
	} {
		add(g.code, g.alias, g.unit, Gauge)
	}
	for _, e := range []struct{ code, alias string }{
		{"1-0:32.32.0", "voltage_sags_l1"},
		{"1-0:52.32.0", "voltage_sags_l2"},
		{"1-0:72.32.0", "voltage_sags_l3"},
		{"1-0:32.36.0", "voltage_swells_l1"},
		{"1-0:52.36.0", "voltage_swells_l2"},
		{"1-0:72.36.0", "voltage_swells_l3"},
		{"0-0:96.7.21", "power_failures"},
		{"0-0:96.7.9", "power_failures_long"},
	} {
		add(e.code, e.alias, "1", Event)
	}
	// M-Bus children: the channel is a metering point of its own; what it counts is
	// told by the site, so the four common readings of 24.2.1 are registers by channel.
	for n := 1; n <= 4; n++ {
		add(fmt.Sprintf("0-%d:24.2.1", n), fmt.Sprintf("volume_mbus%d", n), "L", Counter)
	}
	add("7-0:3.0.0", "gas_volume", "L", Counter)
	add("8-0:1.0.0", "water_volume", "L", Counter)
	add("6-0:1.0.0", "heat_energy", "Wh", Counter)

	m := make(map[string]RegisterID, 2*len(rs))
	for i, r := range rs {
		for _, n := range []string{r.Code, r.Alias} {
			if _, taken := m[n]; taken {
				panic("gridloom: register " + n + " is listed twice")
			}
			m[strings.Clone(n)] = RegisterID(i)
		}
	}
	return rs, m
}
