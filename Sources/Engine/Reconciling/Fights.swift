package import Planning
package import ResourceModel

/// Notices that something is changed back again and again, and backs off instead of hammering. A value that can be kept: it outlives a restart.
///
/// - Flow: `noteRepaired` after each automatic change that went through, `verdict` whenever something differs, `noteInSync` when it was seen as
///   declared.
/// - Guarantees: of one field at most `reverts + 1` repairs within `window`; after that one try after each backoff, which doubles from
///   `firstBackoff` to `longestBackoff`. What has held for longer than `window` is forgotten.
package struct Fights: Sendable, Hashable, Codable {
    package struct Limits: Sendable, Hashable, Codable {
        /// More than this many repairs of one field within `window` is a fight.
        package var reverts: Int
        package var window: Duration
        package var firstBackoff: Duration
        package var longestBackoff: Duration

        package init(
            reverts: Int = 5,
            window: Duration = .seconds(600),
            firstBackoff: Duration = .seconds(60),
            longestBackoff: Duration = .seconds(3600)
        ) {
            self.reverts = max(1, reverts)
            self.window = window
            self.firstBackoff = firstBackoff
            self.longestBackoff = max(firstBackoff, longestBackoff)
        }
    }

    package enum Verdict: Hashable, Sendable {
        case free
        /// Not to be repaired before `until`.
        case contested(until: Moment, message: String)
    }

    fileprivate struct Fight: Sendable, Hashable, Codable {
        /// When each field was repaired within the window.
        var repairs: [String: [Moment]] = [:]
        /// Backoffs so far; 0: no fight yet.
        var level = 0
        var last: Moment
        /// Since when it is as declared, as far as is known; nil: it differs.
        var inSync: Moment?
        /// What was fought over and how often, when it was last seen that it is a fight.
        var field = ""
        var count = 0
        var opponent: String?
    }

    package var limits: Limits
    private var fights: [ResourceAddress: Fight] = [:]

    package init(limits: Limits = Limits()) { self.limits = limits }

    /// What is fought over now.
    package var contested: [ResourceAddress] { fights.filter { $0.value.level > 0 }.keys.sorted() }

    /// How many resources are remembered: those repaired within the window, and those that are fought over.
    package var count: Int { fights.count }

    /// - Parameters:
    ///   - fields: What was changed; of many only the first 64 are counted.
    ///   - opponent: Who had changed them, as far as is known; a clause: `spec.type was last set by kubectl (Update) at …`.
    package mutating func noteRepaired(_ address: ResourceAddress, fields: [String], by opponent: String?, at now: Moment) {
        forgetPast(at: now)
        var fight = fights[address] ?? Fight(last: now)
        fight.last = now
        fight.inSync = now
        fight.opponent = opponent ?? fight.opponent
        // Something that is made or deleted as a whole has no fields and is one.
        for field in fields.isEmpty ? [""] : Array(fields.sorted().prefix(64)) {
            fight.repairs[field] = Array(((fight.repairs[field] ?? []) + [now]).suffix(limits.reverts + 1))
        }
        let worst = fight.repairs.max { ($0.value.count, $1.key) < ($1.value.count, $0.key) }
        if let worst, worst.value.count > limits.reverts || fight.level > 0 {
            if fight.level == 0 { fight.count = 0 }
            fight.count += fight.level == 0 ? worst.value.count : 1
            fight.field = worst.key
            fight.level = min(fight.level + 1, 32)
        }
        fights[address] = fight
    }

    /// Seen as declared, without a doing of ours.
    package mutating func noteInSync(_ address: ResourceAddress, at now: Moment) {
        guard var fight = fights[address] else { return }
        guard let since = fight.inSync, since <= now else {
            fight.inSync = now
            fights[address] = fight
            return
        }
        if now - since > limits.window { fights[address] = nil }
    }

    /// Asked whenever it differs: may it be repaired?
    package mutating func verdict(_ address: ResourceAddress, at now: Moment) -> Verdict {
        guard var fight = fights[address] else { return .free }
        if let since = fight.inSync, now - since > limits.window {
            fights[address] = nil
            return .free
        }
        fight.inSync = nil
        fights[address] = fight
        // A clock that was set back must not make the wait longer than it is.
        guard fight.level > 0, fight.last <= now else { return .free }
        let until = fight.last + backoff(fight.level)
        return now < until ? .contested(until: until, message: fight.message(of: address, until: until)) : .free
    }

    /// Notes what a plan found at a target, and says which of its actions are to be left: `noteInSync` or `verdict` of each.
    ///
    /// - Parameters:
    ///   - plan: As it was found, before anything was withheld.
    ///   - parts: What was looked at; nil: all of the target. What of it is neither an action nor a problem is as declared, or gone.
    package mutating func look(
        _ plan: Plan,
        of target: String,
        parts: Set<ResourceAddress>? = nil,
        at now: Moment
    ) -> [ResourceAddress: Withheld] {
        let here = fights.keys.filter { $0.target == target && parts?.contains($0) ?? true }
        guard !here.isEmpty, !plan.problems.contains(where: { $0.target == target && $0.address == nil }) else { return [:] }
        let differing = Set(plan.actions.map(\.address))
        let unclear = Set(plan.problems.compactMap(\.address))
        var verdicts: [ResourceAddress: Withheld] = [:]
        for address in here where !unclear.contains(address) {
            if !differing.contains(address) {
                noteInSync(address, at: now)
            } else if case .contested(_, let message) = verdict(address, at: now) {
                verdicts[address] = Withheld(.contested, message)
            }
        }
        return verdicts
    }

    /// When the first of the waits is over; nil: none is on.
    package func nextTry(after now: Moment) -> Moment? {
        fights.values.filter { $0.level > 0 }.map { $0.last + backoff($0.level) }.filter { $0 > now }.min()
    }

    /// `plumb resume`: what this covers starts from nothing, at once.
    package mutating func forget(_ scope: Pause.Scope) {
        let pause = Pause(scope, reason: "", origin: .command)
        fights = fights.filter { !pause.covers($0.key) }
    }

    /// Forgets targets that are no longer declared.
    package mutating func keep(only targets: Set<String>) { fights = fights.filter { targets.contains($0.key.target) } }

    private func backoff(_ level: Int) -> Duration {
        min(limits.longestBackoff, limits.firstBackoff * (1 << min(max(level, 1) - 1, 16)))
    }

    private mutating func forgetPast(at now: Moment) {
        fights = fights.compactMapValues { fight in
            var fight = fight
            fight.repairs = fight.repairs.compactMapValues { times in
                // What lies in the future was written before the clock was set back.
                let recent = times.filter { $0 <= now && now - $0 <= limits.window }
                return recent.isEmpty ? nil : recent
            }
            if fight.level == 0 { return fight.repairs.isEmpty ? nil : fight }
            // Not tried again long after that was allowed: it is gone, or somebody has paused it.
            let isOver = now - fight.last > backoff(fight.level) + limits.window
            return isOver || fight.inSync.map { now - $0 > limits.window } ?? false ? nil : fight
        }
    }
}

extension Fights.Fight {
    fileprivate func message(of address: ResourceAddress, until: Moment) -> String {
        let what = field.isEmpty ? "it" : field
        let who = opponent.map { " (\($0))" } ?? ""
        return "\(what) was put right \(count) times and changed again each time\(who). Plumb leaves it alone until \(until), then tries once. "
            + "To end it: stop what changes it, or 'plumb pause \(address) --reason …', or take the field out of the spec; "
            + "'plumb resume \(address)' tries again at once"
    }
}

extension Action {
    /// Who is known to have changed what this action puts right; nil: nothing is known.
    package var opponent: String? {
        if !reason.isEmpty { return reason }
        let isOfHost = steps.contains { if case .run = $0.operation { true } else { false } }
        return isOfHost ? "by something on the host" : nil
    }
}
