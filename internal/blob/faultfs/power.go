package faultfs

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
)

// ErrPowerLost is what every operation returns from a power loss to Restart, and
// what files opened before it return for ever.
var ErrPowerLost = errors.New("faultfs: power lost")

// LosePower takes the power away now and starts again: what was not synced is
// gone, and files that were open are dead. It is PowerOff followed by Restart.
func (f *FS) LosePower() {
	f.PowerOff(nil)
	f.Restart()
}

// PowerOff takes the power away: until Restart every operation fails with
// ErrPowerLost. With chance nil all that was not synced is lost. With chance each
// unsynced change of a directory is kept or lost by itself, and of each unsynced
// content a random length is kept, whose end may be zeros: what journalling file
// systems do in practice. A correct subject must stand both.
func (f *FS) PowerOff(chance *rand.Rand) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.powerOff(chance)
}

func (f *FS) powerOff(chance *rand.Rand) {
	f.lost = true
	f.boot++
	f.root.lose(chance, map[*node]bool{})
}

// Restart gives the power back and takes an injected fault away.
func (f *FS) Restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = false
	f.inject = nil
}

// lose takes n, and all below it, back to what the disk holds.
func (n *node) lose(chance *rand.Rand, seen map[*node]bool) {
	if seen[n] {
		return // a file with two names
	}
	seen[n] = true
	if !n.dir {
		n.loseContent(chance)
		return
	}
	left := maps.Clone(n.stableNames)
	if chance != nil {
		for _, base := range slices.Sorted(maps.Keys(n.names)) {
			if n.names[base] != left[base] && chance.IntN(2) == 0 {
				left[base] = n.names[base]
			}
		}
		for _, base := range slices.Sorted(maps.Keys(n.stableNames)) {
			if n.names[base] == nil && chance.IntN(2) == 0 {
				delete(left, base)
			}
		}
	}
	n.names, n.stableNames = left, maps.Clone(left)
	for _, base := range slices.Sorted(maps.Keys(left)) {
		left[base].lose(chance, seen)
	}
}

func (n *node) loseContent(chance *rand.Rand) {
	if chance != nil && n.dirty < len(n.data) {
		kept := n.dirty + chance.IntN(len(n.data)-n.dirty+1)
		written := n.dirty + chance.IntN(kept-n.dirty+1) // the size reached the disk, the rest of the blocks did not
		n.stable = append(n.stable[:n.dirty], n.data[n.dirty:written]...)
		n.stable = append(n.stable, make([]byte, kept-written)...)
	}
	n.data = slices.Clone(n.stable)
	n.dirty = len(n.data)
}
