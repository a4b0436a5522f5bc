package metrics

import dto "github.com/prometheus/client_model/go"

// Lookups returns how many look-ups there have been, by cache and result.
func (m *Metrics) Lookups() map[string]map[string]uint64 {
	all := map[string]map[string]uint64{}
	for l, counter := range m.lookups {
		var read dto.Metric
		if counter.Write(&read) != nil {
			continue
		}
		if all[l.cache] == nil {
			all[l.cache] = map[string]uint64{}
		}
		all[l.cache][l.result] = uint64(read.GetCounter().GetValue())
	}
	return all
}
