/// Whether this process is the one of several that acts.
package enum Leadership: Hashable, Sendable {
    /// It is. Each time somebody becomes leader the number is another one, and higher than before unless the Lease was deleted in between.
    case leading(term: Int64)
    /// Somebody else is, or was until now.
    case following(leader: String)
    /// It is not, although it was, or nobody knows who is.
    case lost(String)
}

/// How long what is waited for in an election.
package struct ElectionTimes: Hashable, Sendable {
    /// For which others leave a leader alone who has not been seen to renew. Whole seconds, since that is how a Lease has it.
    package var duration = Duration.seconds(10)
    /// Between two renewals.
    package var renewal = Duration.seconds(2)
    /// After its last renewal was sent, a leader acts for this long and no longer. The rest up to `duration` is for what it had sent already.
    package var deadline = Duration.seconds(6)
    /// Between two looks of those who are not the leader.
    package var look = Duration.seconds(1)
    /// For one request: half of what a leader has, so that one that hangs is followed by another.
    package var attempt = Duration.seconds(3)

    package init() {}
}

/// The decisions of one of several processes of which only one may act: what the server answered goes in, what to do next comes out. A value without
/// clock or connection.
///
/// - Guarantees: at no moment do two of them lead. A leader counts from when its renewal was *sent*, the others from when they *saw* it, each on a clock
///   of its own that only goes forward. The times in the Lease are other clocks' and decide nothing.
/// - Assumptions: all of them use the same `duration` or longer ones; clocks run at the same speed, give or take a third; the server answers reads
///   with what was last written.
package struct LeaderClaim: Sendable {
    package enum Order: Hashable, Sendable {
        /// And report what became of it, at the latest after that time.
        case send(APIRequest, within: Duration)
        case wait(Duration)
    }

    package enum Outcome: Sendable {
        case answer(APIResponse)
        /// No answer: nobody knows whether it was carried out.
        case failure(String)
    }

    package let place: Lease.Place
    package let claim: Lease.Claim
    private let times: ElectionTimes
    /// As it was last read or written.
    private var lease: Lease?
    /// The version that is not ours, and since when it has been seen so.
    private var watched: (version: String, since: Duration)?
    private var term: Int64 = 0
    /// Until when it may be acted; nil: not the leader.
    package private(set) var leadsUntil: Duration?
    /// What to write next, made for `lease` as it was read.
    private enum Intent { case look, create, take, renew }
    private var intent = Intent.look
    /// When.
    private var due = Duration.zero
    /// Why the last request did not succeed.
    private var trouble = ""
    private var standing: Leadership?

    package init(at place: Lease.Place, identity: String, times: ElectionTimes = ElectionTimes()) {
        self.place = place
        self.times = times
        claim = Lease.Claim(holder: identity, details: "", duration: max(1, times.duration.components.seconds))
    }

    /// nil: nothing is known yet.
    package var leadership: Leadership? { standing }

    package func isLeading(at now: Duration) -> Bool { leadsUntil.map { now < $0 } ?? false }

    /// - Parameters:
    ///   - now: On a clock of ours that only goes forward and counts while the machine sleeps.
    ///   - time: Now, as it is written into the Lease.
    package mutating func next(now: Duration, time: String) -> Order {
        expire(now)
        let pause = due - now
        if pause > .zero { return .wait(leadsUntil.map { min(pause, $0 - now) } ?? pause) }
        let limit = leadsUntil.map { min(times.attempt, $0 - now) } ?? times.attempt
        switch (intent, lease) {
        case (.create, _):
            let nobody = Lease.Claim(holder: "", details: "", duration: claim.duration)
            return .send(Lease.create(nobody, at: place, now: time), within: limit)
        case (.take, let lease?): return .send(lease.take(claim, now: time), within: limit)
        case (.renew, let lease?): return .send(lease.renew(claim, now: time), within: limit)
        case (.look, _), (_, nil): return .send(place.read, within: limit)
        }
    }

    /// - Parameters:
    ///   - request: What was sent.
    ///   - sent: Before it was sent; a later moment would make a leader act too long.
    package mutating func take(_ outcome: Outcome, of request: APIRequest, sent: Duration, now: Duration) {
        if case .failure(let why) = outcome { trouble = why }
        if expire(now), case .failure = outcome { return }
        switch outcome {
        case .failure(let why): fail(why, now)
        case .answer(let response):
            guard let status = APIStatus(response) else {
                let found = Lease(response.body, at: place)
                if request.method == .put { succeed(found, sent: sent, now: now) } else { see(found, now) }
                return
            }
            switch (request.method, status.code) {
            case (.get, 404) where !status.isUnknownPath: seeNothing(now)
            // Written by somebody in between, or by an attempt of ours whose answer was lost: see what is there.
            // Not at once, for a server that always says so is not to be asked for ever.
            case (.post, 409), (.put, 409), (.put, 404): plan(.look, at: now + (leadsUntil == nil ? times.look : times.renewal / 8))
            default: fail(refusal(status, request.method), now)
            }
        }
    }

    /// What gives the Lease back, so that others need not wait; nil: it is not ours. Nothing is led from here on.
    package mutating func release(time: String) -> APIRequest? {
        let isOurs = leadsUntil != nil
        leadsUntil = nil
        standing = .lost("given back")
        return isOurs ? lease?.release(now: time) : nil
    }

    private mutating func see(_ found: Lease, _ now: Duration) {
        trouble = ""
        lease = found
        if found.holder == claim.holder {
            watched = nil
            // Nobody else has our name, so this is what we wrote, also where we have given up on it.
            return plan(leadsUntil == nil ? .take : .renew, at: now)
        }
        if leadsUntil != nil { lose("\(found.holder.isEmpty ? "somebody" : found.holder) has taken Lease \(place)", now) }
        if found.isReleased { return plan(.take, at: now) }
        standing = .following(leader: found.holder)
        let duration = max(.seconds(found.duration), times.duration)
        let since: Duration
        if let watched, watched.version == found.version { since = watched.since } else { since = now }
        watched = (found.version, since)
        if now - since >= duration { return plan(.take, at: now) }
        plan(.look, at: min(now + times.look, since + duration))
    }

    /// Deleted or never made. Its last holder may not know that yet, and an absence has no version by which to tell that it lasted: so an empty one is made,
    /// and that is watched like one whose holder is silent.
    private mutating func seeNothing(_ now: Duration) {
        trouble = ""
        lease = nil
        if leadsUntil != nil { lose("Lease \(place) was deleted by somebody", now) }
        if standing == nil { standing = .following(leader: "") }
        plan(.create, at: now)
    }

    private mutating func succeed(_ found: Lease, sent: Duration, now: Duration) {
        trouble = ""
        lease = found
        watched = nil
        let until = sent + times.deadline
        // An answer as late as that says that it is ours, and nothing of now.
        guard now < until else { return plan(.take, at: now) }
        if leadsUntil == nil { term = found.transitions }
        leadsUntil = until
        standing = .leading(term: term)
        plan(.renew, at: sent + times.renewal)
    }

    private mutating func fail(_ why: String, _ now: Duration) {
        trouble = why
        if leadsUntil != nil {
            // It may have got through all the same: then the next attempt meets a newer version.
            plan(lease == nil ? .look : .renew, at: now + times.renewal / 4)
        } else {
            standing = .lost(why)
            plan(.look, at: now + times.look)
        }
    }

    @discardableResult
    private mutating func expire(_ now: Duration) -> Bool {
        guard let until = leadsUntil, now >= until else { return false }
        let why = trouble.isEmpty ? "" : ": \(trouble)"
        lose("Lease \(place) could not be renewed within \(times.deadline.components.seconds) s\(why)", now)
        return true
    }

    private mutating func lose(_ why: String, _ now: Duration) {
        leadsUntil = nil
        standing = .lost(why)
        plan(.look, at: now)
    }

    private mutating func plan(_ intent: Intent, at time: Duration) {
        self.intent = intent
        due = time
    }

    private func refusal(_ status: APIStatus, _ method: APIRequest.Method) -> String {
        guard status.isMissingRight else { return "Lease \(place): \(status)" }
        let verb =
            switch method {
            case .get: "get"
            case .post: "create"
            default: "update"
            }
        return "\(status.user.map { "user \($0)" } ?? "this user") may not \(verb) leases.coordination.k8s.io in namespace \(place.namespace); "
            + "'plumb rbac' prints the rights that are needed"
    }
}
