package e2e

// Names of the metrics that the cases read, in one place.
const (
	metricRelaySessions = "edgerelay_relay_sessions"
	metricRelaySent     = "edgerelay_relay_publications_sent_total"
	metricPublishes     = "edgerelay_relay_publishes_total"
	metricOpened        = "edgerelay_edge_sessions_opened_total"
	metricRelayLost     = "edgerelay_relay_publications_lost_total"
	metricEdgeGaps      = "edgerelay_edge_gaps_total"
	metricLogBytes      = "edgerelay_edge_log_bytes"
	metricLogMessages   = "edgerelay_edge_log_messages"
	metricDropped       = "edgerelay_relay_redis_dropped_total"
	metricEnded         = "edgerelay_edge_sessions_ended_total"
	metricLinkUp        = "edgerelay_edge_link_up"
	metricUnconfirmed   = "edgerelay_edge_sessions_unconfirmed_total"
	metricEdgeDropped   = "edgerelay_edge_dropped_total"
	metricRefused       = "edgerelay_edge_refused_total"
	metricDialFailures  = "edgerelay_edge_dial_failures_total"
	metricLinks         = "edgerelay_edge_links_total"
	metricBrokers       = "edgerelay_edge_brokers"
	metricRelays        = "edgerelay_edge_relays"
	metricSuspensions   = "edgerelay_edge_suspensions_total"
	metricMoves         = "edgerelay_edge_moves_total"
	metricLinkEnds      = "edgerelay_edge_link_ends_total"
	metricBehind        = "edgerelay_relay_followers_behind_total"
	metricFromHistory   = "edgerelay_relay_publications_from_history_total"
	metricLinkRefusals  = "edgerelay_relay_link_refusals_total"
)
