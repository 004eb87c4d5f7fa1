package import Planning
package import ResourceModel

/// Waits until a difference has stood for a while, so that what is only passing through is not fought. Of the continuous mode alone: by hand all
/// is done at once. A value; the time comes in, counted from any fixed point.
///
/// - Guarantees: acted upon is only what was seen at least twice, as far apart as its `settle`, and in the same way each time it was looked at in
///   between. What vanishes or changes begins anew. It keeps only what differs now and has a `settle`.
package struct Settling: Sendable {
    package enum Verdict: Hashable, Sendable {
        case act
        /// To be looked at again then.
        case wait(until: Duration)
    }

    private struct Sighting {
        var fingerprint: String
        var since: Duration
    }

    private var sightings: [ResourceAddress: Sighting] = [:]

    package init() {}

    /// How many differences are being waited for, those included whose time has come.
    package var count: Int { sightings.count }

    /// Notes a look at a target and says of each action that has to wait until when.
    ///
    /// - Parameters:
    ///   - actions: All that was found different there.
    ///   - parts: What was looked at; nil: all of the target. What of it has no action is as declared, or gone.
    package mutating func look(
        at target: String,
        parts: ((ResourceAddress) -> Bool)? = nil,
        found actions: [Action],
        now: Duration
    ) -> [ResourceAddress: Duration] {
        let here = actions.filter { $0.address.target == target && $0.settle > .zero }
        let differing = Set(here.map(\.address))
        sightings = sightings.filter { address, _ in
            address.target != target || differing.contains(address) || !(parts?(address) ?? true)
        }
        var waiting: [ResourceAddress: Duration] = [:]
        for action in here {
            if case .wait(let until) = see(action.address, fingerprint: action.fingerprint, settle: action.settle, now: now) {
                waiting[action.address] = until
            }
        }
        return waiting
    }

    /// A target that gave no answer, or whose events were missed: nobody knows what was there meanwhile.
    package mutating func lost(_ target: String) { sightings = sightings.filter { $0.key.target != target } }

    /// Forgets targets that are no longer declared.
    package mutating func keep(only targets: Set<String>) { sightings = sightings.filter { targets.contains($0.key.target) } }

    /// - Parameter until: as `look` gave it.
    package static func withheld(until: Duration, now: Duration) -> Withheld {
        let seconds = max(1, ((until - now).wholeMilliseconds + 999) / 1000)
        return Withheld(nil, "may be only passing through: left alone unless it is still so in \(seconds) s (plumb/settle)")
    }

    private mutating func see(_ address: ResourceAddress, fingerprint: String, settle: Duration, now: Duration) -> Verdict {
        guard let before = sightings[address], before.fingerprint == fingerprint, before.since <= now else {
            sightings[address] = Sighting(fingerprint: fingerprint, since: now)
            return .wait(until: now + settle)
        }
        return now - before.since >= settle ? .act : .wait(until: before.since + settle)
    }
}
