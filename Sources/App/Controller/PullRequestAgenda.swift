package import Forge

/// Which open pull requests are to be looked at, when, and why. A value: the time comes in, counted from any fixed point.
///
/// - Guarantees: what is asked for several times is done once, at the earliest of them; nothing of one request is done twice at a time; what
///   failed is tried again until the request is closed.
package struct PullRequestAgenda: Sendable {
    package struct Limits: Sendable, Hashable {
        /// New heads of one author who may not write that are planned within `window`.
        package var plansPerAuthor = 10
        package var window = Duration.seconds(3600)
        /// Open requests that are known at a time. More are looked at when others are closed.
        package var mostOpen = 1000
        /// How many are looked at together.
        package var batch = 100
        /// How often somebody's request is looked at who has had plans enough, so that a new head has its word as well.
        package var pauseOfExhausted = Duration.seconds(30)
        /// Looks in `driftWindow` at what has changed live behind one request, before there is a pause after each: what goes back and forth all the
        /// time, as a number that something else scales, is not worth an edit each time.
        package var quickLooks = 5
        package var driftWindow = Duration.seconds(600)
        package var pauseOfDrift = Duration.seconds(60)
        package var firstRetry = Duration.seconds(1)
        package var longestRetry = Duration.seconds(600)

        package init() {}
    }

    package enum Verdict: Sendable, Hashable {
        case plan
        /// The author has had plans enough; then it will be planned.
        case wait(until: Duration)
    }

    package enum Outcome: Sendable, Hashable {
        case done
        /// It is closed, or meant for another branch.
        case gone
        case waits(until: Duration)
        /// - Parameter retryAfter: As the forge asked for.
        case failed(retryAfter: Duration?)
    }

    private struct Entry {
        var due: Duration?
        var reasons: [String] = []
        var askedFor = Duration.zero
        /// Not before this time, whatever happens.
        var notBefore = Duration.zero
        var isBusy = false
        /// Closed while it was busy: only what is under way is waited for.
        var isClosed = false
        var takenAt: Duration?
        var failures = 0
        /// When it was looked at because of what is live; the last of them.
        var drifts: [Duration] = []
        /// The last one for which a plan was allowed; planning it again is nobody's doing.
        var plannedHead: String?
    }

    /// The reason that something has changed live.
    package static let drift = "drift"

    private let limits: Limits
    private var entries: [Int: Entry] = [:]
    /// When new heads of those were planned who may not write.
    private var plans: [String: [Duration]] = [:]

    package init(limits: Limits = Limits()) { self.limits = limits }

    /// Open requests that are known.
    package var open: [Int] { entries.filter { !$0.value.isClosed }.keys.sorted() }

    /// Those that fail at the moment.
    package var failing: [Int] { entries.filter { $0.value.failures > 0 }.keys.sorted() }

    // MARK: What happens

    /// - Returns: false: there are too many, and this one is left to the next poll.
    @discardableResult
    package mutating func request(_ number: Int, because reason: String, at now: Duration, after delay: Duration = .zero) -> Bool {
        if entries[number] == nil, entries.count >= limits.mostOpen { return false }
        var entry = entries[number] ?? Entry()
        // Opened again; its author's plans are counted as of any other.
        if entry.isClosed { (entry.isClosed, entry.plannedHead) = (false, nil) }
        entry.askedFor = now
        var wanted = max(now + delay, entry.notBefore)
        if reason == Self.drift, entry.drifts.count >= limits.quickLooks, let first = entry.drifts.first, let last = entry.drifts.last,
            now - first < limits.driftWindow
        {
            wanted = max(wanted, last + limits.pauseOfDrift)
        }
        entry.due = min(entry.due ?? wanted, wanted)
        if !entry.reasons.contains(reason) { entry.reasons.append(reason) }
        entries[number] = entry
        return true
    }

    /// All that are open: the base has moved, or what is live has changed.
    package mutating func requestAll(because reason: String, at now: Duration, after delay: Duration = .zero) {
        for number in open { request(number, because: reason, at: now, after: delay) }
    }

    /// All that are open and were not taken since then: there was a question that took a while.
    package mutating func requestAll(because reason: String, at now: Duration, notTakenSince began: Duration) {
        for (number, entry) in entries where !entry.isClosed && entry.takenAt.map({ $0 < began }) ?? true {
            request(number, because: reason, at: now)
        }
    }

    /// It is closed. Opened again before what is under way has come to an end, it waits for that: two of them would not know which is the newer.
    package mutating func forget(_ number: Int) {
        guard var entry = entries[number], entry.isBusy else {
            entries[number] = nil
            return
        }
        (entry.isClosed, entry.due, entry.reasons) = (true, nil, [])
        entries[number] = entry
    }

    /// Takes what the forge has listed for all that is open.
    ///
    /// - Parameter asked: When; who was asked for since then may not be in it.
    package mutating func take(list numbers: [Int], askedAt asked: Duration) {
        let listed = Set(numbers)
        for (number, entry) in entries where !listed.contains(number) && !entry.isBusy && entry.askedFor < asked { entries[number] = nil }
        for number in numbers where entries[number] == nil && entries.count < limits.mostOpen { entries[number] = Entry() }
    }

    // MARK: What is done

    /// Those whose time has come. They are busy until `finish`.
    package mutating func takeDue(at now: Duration) -> [Int: [String]] {
        let due = entries.compactMap { number, entry -> (due: Duration, number: Int)? in
            guard !entry.isBusy, let due = entry.due, due <= now else { return nil }
            return (due, number)
        }
        var taken: [Int: [String]] = [:]
        for (_, number) in due.sorted(by: <).prefix(limits.batch) {
            guard var entry = entries[number] else { continue }
            taken[number] = entry.reasons
            if entry.reasons.contains(Self.drift) { entry.drifts = (entry.drifts + [now]).suffix(limits.quickLooks) }
            entry.isBusy = true
            entry.takenAt = now
            entry.due = nil
            entry.reasons = []
            entries[number] = entry
        }
        return taken
    }

    /// nil: nothing is left to do.
    package var nextDue: Duration? { entries.values.compactMap { $0.isBusy ? nil : $0.due }.min() }

    /// Whether this head may be planned now. A head is counted once: that the base moves, or something fails, costs its author nothing.
    package mutating func verdict(on request: PullRequest, at now: Duration) -> Verdict {
        guard !request.authorMayWrite, entries[request.number]?.plannedHead != request.headCommit else {
            entries[request.number]?.plannedHead = request.headCommit
            return .plan
        }
        plans = plans.compactMapValues { times in
            let recent = times.filter { now - $0 < limits.window }
            return recent.isEmpty ? nil : recent
        }
        let author = (request.author ?? "").lowercased()
        let recent = plans[author] ?? []
        if recent.count >= limits.plansPerAuthor { return .wait(until: recent[recent.count - limits.plansPerAuthor] + limits.window) }
        plans[author] = recent + [now]
        entries[request.number]?.plannedHead = request.headCommit
        return .plan
    }

    /// - Parameter chance: From 0 to 1.
    /// - Returns: In which time it is tried again; nil: it is not, by itself.
    @discardableResult
    package mutating func finish(_ number: Int, _ outcome: Outcome, at now: Duration, chance: Double) -> Duration? {
        guard var entry = entries[number] else { return nil }
        if entry.isClosed {
            entries[number] = nil
            return nil
        }
        entry.isBusy = false
        var delay: Duration?
        switch outcome {
        case .gone:
            // Asked for again meanwhile: it may have been opened again.
            entries[number] = entry.due == nil ? nil : entry
            return nil
        case .done:
            entry.failures = 0
            entry.notBefore = .zero
        case .waits(let until):
            entry.failures = 0
            entry.notBefore = now + limits.pauseOfExhausted
            entry.due = min(max(entry.due ?? until, entry.notBefore), max(until, now))
        case .failed(let retryAfter):
            entry.failures += 1
            let backoff = min(limits.longestRetry, limits.firstRetry * (1 << min(entry.failures - 1, 16))) * (1 + chance / 4)
            let pause = max(backoff, retryAfter ?? .zero)
            delay = pause
            // A new head may do better at once; silence that the forge has asked for is kept in any case.
            entry.notBefore = now + (retryAfter ?? .zero)
            entry.due = max(min(entry.due ?? now + pause, now + pause), entry.notBefore)
            if !entry.reasons.contains("retry") { entry.reasons.append("retry") }
        }
        entries[number] = entry
        return delay
    }

    /// How often in a row it has failed.
    package func failures(of number: Int) -> Int { entries[number]?.failures ?? 0 }
}
