/// What a host can tell about by itself.
package enum HostEventSource: String, Hashable, Sendable, CaseIterable {
    /// Network interfaces, from `ip monitor link`.
    case links
    /// Rules of the nft backend, from `nft monitor`. Those of iptables-legacy send no events anywhere.
    case ruleset
}

/// What of a host is followed.
package struct HostEventSources: Hashable, Sendable {
    package var followed: Set<HostEventSource>
    /// Why the others that were asked for are not, in plain words with the host's own; only looking from time to time covers these.
    package var missing: [HostEventSource: String]

    package init(followed: Set<HostEventSource>, missing: [HostEventSource: String] = [:]) {
        self.followed = followed
        self.missing = missing
    }
}

/// A place in the rules of a host. Names as the host says them.
package struct RulesetPlace: Hashable, Sendable {
    /// `ip`, `ip6`, `inet`, …
    package var family: String
    package var table: String
    /// nil: the table itself.
    package var chain: String?

    package init(family: String, table: String, chain: String? = nil) {
        self.family = family
        self.table = table
        self.chain = chain
    }
}

package enum HostEvent: Hashable, Sendable {
    /// From here on it is followed. What happened before is not known: look at all of it.
    case connected(HostEventSources)
    /// These interfaces were changed, added, removed or renamed.
    case links([String])
    /// Something was changed here. A rule that went may have been what referred to another chain of its table.
    case ruleset([RulesetPlace])
    /// More happened there than is told one by one: look at all of this source.
    case throttled(HostEventSource)
    /// Nothing is followed until it is connected again.
    case lost(HostFailure, retryIn: Duration)
}

extension HostPool {
    /// What root has to be allowed to run so that all sources can be followed.
    package static let monitorCommands = ["/usr/sbin/nft monitor"]

    /// Follows what happens on a host until the task is cancelled or the pool is closed, over the connection that probes use, which is opened anew
    /// for ever: after half a second to a second at first, up to 30 s apart, a minute where the host refuses.
    ///
    /// - Guarantees: after `connected` nothing is missed that the host's kernel tells, and where it tells too much, `throttled` says so. The first event of a
    ///   source is told at once, later ones at most ten times a second, each time all since. A connection that is gone is noticed within 60 s.
    ///   Memory is bounded, whatever the host sends, and nothing stays behind on it.
    /// - Parameter onEvent: Called one at a time and in order, on the connection's event loop, so it has to be quick. Changes of our own are events as well.
    package func follow(
        _ login: HostLogin,
        sources: Set<HostEventSource>,
        onEvent: @escaping @Sendable (HostEvent) -> Void
    ) async {
        let host = host(login)
        var retries = MonitorRetries()
        while !Task.isCancelled {
            let begin = ContinuousClock.now
            guard let failure = await host.follow(sources, onEvent: onEvent), !Task.isCancelled else { return }
            let pause = retries.pause(after: failure, following: ContinuousClock.now - begin, chance: Double.random(in: 0..<1))
            onEvent(.lost(failure, retryIn: pause))
            try? await Task.sleep(for: pause)
        }
    }
}

/// How long to wait before a host is followed again.
struct MonitorRetries: Sendable {
    private var failures = 0

    /// - Parameters:
    ///   - duration: How long it took until it failed. A connection that was good for a minute makes the host a good one again.
    ///   - chance: From 0 up to 1, so that many hosts that went together do not come back together.
    mutating func pause(after failure: HostFailure, following duration: Duration, chance: Double) -> Duration {
        if duration >= .seconds(60) { failures = 0 }
        let longest: Double = failure.cause == .denied ? 60 : 30
        let full = min(longest, Double(1 << min(failures, 6)))
        failures += 1
        return .milliseconds(Int(full * 1000 * (0.5 + chance / 2)))
    }
}
