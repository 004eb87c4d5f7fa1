/// The decisions of who wants to hold the Lease of a cluster: what the server answered goes in, what to do next comes out. A value without clock or
/// connection.
///
/// - Guarantees: a Lease that somebody holds is taken over only if that one is known to be dead, or if the Lease did not change for its whole duration on
///   our own clock. The times in it are other clocks'; they only decide whether it is worth watching.
package struct LeaseClaim: Sendable {
    package enum Order: Hashable, Sendable {
        case send(APIRequest)
        /// Somebody holds it who has not renewed it lately; ask again after this time.
        case watch(ApplyLease, for: Duration)
        case held(ApplyLease)
        case taken(by: ApplyLease)
        /// The server does not let us.
        case refused(APIStatus)
    }

    package let claim: ApplyLease.Claim
    /// How long somebody who is alive is waited for, counted from the first answer.
    private let patience: Duration
    private let start: Duration
    /// The state that is being watched, and since when.
    private var watched: (lease: ApplyLease, since: Duration)?

    /// Between two looks at a Lease that is being watched.
    private static let pause = Duration.seconds(1)

    package init(_ claim: ApplyLease.Claim, patience: Duration, now: Duration) {
        self.claim = claim
        self.patience = patience
        start = now
    }

    package var first: Order { .send(ApplyLease.read) }
    package var again: Order { .send(ApplyLease.read) }

    /// - Parameters:
    ///   - method: Of the request that was answered.
    ///   - now: On a clock of ours that only goes forward.
    ///   - time: Now, as it is written into the Lease.
    ///   - age: How long ago the Lease was renewed if its holder's clock were ours; nil: it does not say.
    ///   - isDead: Whether its holder is known to be gone.
    package mutating func take(
        _ response: APIResponse,
        to method: APIRequest.Method,
        now: Duration,
        time: String,
        age: (ApplyLease) -> Duration?,
        isDead: (ApplyLease) -> Bool
    ) -> Order {
        if let status = APIStatus(response) {
            switch (method, status.code) {
            case (.get, 404) where !status.isUnknownPath: return .send(ApplyLease.create(claim, now: time))
            // Somebody was quicker, or it was deleted: see what is there now.
            case (.post, 409), (.put, 409), (.put, 404): return again
            default: return .refused(status)
            }
        }
        let lease = ApplyLease(response.body)
        guard method == .get else { return .held(lease) }
        if lease.holder.isEmpty || lease.holder == claim.holder || isDead(lease) { return .send(lease.take(claim, now: time)) }

        let duration = Duration.seconds(lease.duration)
        if let watched, watched.lease.version == lease.version {
            if now - watched.since >= duration { return .send(lease.take(claim, now: time)) }
        } else {
            // It changed under our eyes: its holder lives.
            if watched != nil, now - start >= patience { return .taken(by: lease) }
            watched = (lease, now)
        }
        // Who lives renews it three times within its duration.
        let looksAlive = age(lease).map { $0 < duration / 2 && $0 > .zero - duration / 2 } ?? false
        if looksAlive, now - start >= patience { return .taken(by: lease) }
        return .watch(lease, for: Self.pause)
    }
}
