import Controller
import Testing

@Suite struct MetricsTests {
    @Test func rendersWhatPrometheusReads() {
        let metrics = Metrics()
        let passes = Metrics.Metric("plumb_passes_total", .counter, "Passes.")
        let durations = Metrics.Metric("plumb_pass_seconds", .histogram, "How long.")
        metrics.increment(passes, ["target": "pi-\"1\"\n", "result": "ok"])
        metrics.increment(passes, ["target": "pi-\"1\"\n", "result": "ok"])
        metrics.observe(durations, seconds: 0.004)
        let text = metrics.render()
        #expect(text.contains("# TYPE plumb_passes_total counter\nplumb_passes_total{target=\"pi-\\\"1\\\"\\n\",result=\"ok\"} 2\n"))
        #expect(text.contains("plumb_pass_seconds_bucket{le=\"0.002\"} 0\nplumb_pass_seconds_bucket{le=\"0.005\"} 1\n"))
        #expect(text.contains("plumb_pass_seconds_bucket{le=\"+Inf\"} 1\nplumb_pass_seconds_sum 0.004\nplumb_pass_seconds_count 1\n"))
    }

    @Test func forgetsATargetThatIsGone() {
        let metrics = Metrics()
        let drift = Metrics.Metric("plumb_drift", .gauge, "Drift.")
        metrics.set(drift, ["target": "a"], to: 1)
        metrics.set(drift, ["target": "b"], to: 2)
        metrics.remove(drift, where: "target", is: "a")
        #expect(!metrics.render().contains("target=\"a\""))
        #expect(metrics.render().contains("plumb_drift{target=\"b\"} 2"))
    }
}
