import Synchronization

/// What Prometheus is told. Counters, gauges and histograms by name and labels, rendered in its text format.
package final class Metrics: Sendable {
    package struct Metric: Hashable, Sendable {
        package enum Kind: String, Sendable {
            case counter
            case gauge
            case histogram
        }

        package var name: String
        package var kind: Kind
        package var help: String

        package init(_ name: String, _ kind: Kind, _ help: String) {
            self.name = name
            self.kind = kind
            self.help = help
        }
    }

    private struct Family {
        var metric: Metric
        var values: [String: Double] = [:]
        var histograms: [String: Histogram] = [:]
    }

    private struct Histogram {
        var buckets = [UInt64](repeating: 0, count: Metrics.bounds.count)
        var count: UInt64 = 0
        var sum = 0.0
    }

    /// Upper bounds of the buckets of every histogram, in seconds.
    static let bounds: [Double] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300]
    /// Of one metric; what comes beyond is counted under `other`, so that a sender's labels can't fill the memory.
    private static let seriesLimit = 20_000

    private let families = Mutex<[String: Family]>([:])

    package init() {}

    package func increment(_ metric: Metric, _ labels: KeyValuePairs<String, String> = [:], by amount: Double = 1) {
        change(metric, labels) { $0 += amount }
    }

    package func set(_ metric: Metric, _ labels: KeyValuePairs<String, String> = [:], to value: Double) {
        change(metric, labels) { $0 = value }
    }

    /// Forgets all series of a gauge whose labels hold this pair: a target that is gone.
    package func remove(_ metric: Metric, where name: String, is value: String) {
        let part = Self.rendered(name, value)
        families.withLock { families in
            guard let family = families[metric.name] else { return }
            families[metric.name]?.values = family.values.filter { !$0.key.contains(part) }
        }
    }

    /// - Parameter seconds: how long something took.
    package func observe(_ metric: Metric, _ labels: KeyValuePairs<String, String> = [:], seconds: Double) {
        let key = Self.rendered(labels)
        families.withLock { families in
            var histogram = families[metric.name]?.histograms[key] ?? Histogram()
            for (index, bound) in Self.bounds.enumerated() where seconds <= bound { histogram.buckets[index] += 1 }
            histogram.count += 1
            histogram.sum += seconds
            families[metric.name, default: Family(metric: metric)].histograms[key] = histogram
        }
    }

    private func change(_ metric: Metric, _ labels: KeyValuePairs<String, String>, _ body: (inout Double) -> Void) {
        let key = Self.rendered(labels)
        families.withLock { families in
            let isFull = (families[metric.name]?.values.count ?? 0) >= Self.seriesLimit && families[metric.name]?.values[key] == nil
            body(&families[metric.name, default: Family(metric: metric)].values[isFull ? "other=\"true\"" : key, default: 0])
        }
    }

    /// The text format, version 0.0.4, in the order of the names.
    package func render() -> String {
        var text = ""
        for (name, family) in families.withLock({ $0 }).sorted(by: { $0.key < $1.key }) {
            text += "# HELP \(name) \(family.metric.help)\n# TYPE \(name) \(family.metric.kind.rawValue)\n"
            for (labels, value) in family.values.sorted(by: { $0.key < $1.key }) {
                text += "\(name)\(labels.isEmpty ? "" : "{\(labels)}") \(Self.number(value))\n"
            }
            for (labels, histogram) in family.histograms.sorted(by: { $0.key < $1.key }) {
                let start = labels.isEmpty ? "" : "\(labels),"
                for (index, bound) in Self.bounds.enumerated() {
                    text += "\(name)_bucket{\(start)le=\"\(Self.number(bound))\"} \(histogram.buckets[index])\n"
                }
                let tail = labels.isEmpty ? "" : "{\(labels)}"
                text += "\(name)_bucket{\(start)le=\"+Inf\"} \(histogram.count)\n"
                text += "\(name)_sum\(tail) \(Self.number(histogram.sum))\n\(name)_count\(tail) \(histogram.count)\n"
            }
        }
        return text
    }

    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? String(Int64(value)) : String(value)
    }

    private static func rendered(_ labels: KeyValuePairs<String, String>) -> String {
        labels.map { rendered($0.key, $0.value) }.joined(separator: ",")
    }

    private static func rendered(_ name: String, _ value: String) -> String {
        let escaped = value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
        return "\(name)=\"\(escaped)\""
    }
}
