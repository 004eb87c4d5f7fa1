package import KubernetesAPI
import Synchronization

/// One of several processes that want to act, of which one may.
///
/// - Guarantees: see `LeaderClaim`. `isLeading` turns false by itself when the time is up, whatever the server, the network or `onChange` do.
package actor LeaderElection {
    package nonisolated let place: Lease.Place
    private let send: APISender
    private let time: LeaseTime
    private var claim: LeaderClaim
    private let until = Mutex<Duration?>(nil)
    private let lastAnswer = Mutex<Leadership?>(nil)

    /// - Parameters:
    ///   - identity: This process's alone: two that have the same name would both lead. It is shown to people.
    ///   - send: May take as long as it likes; it is cancelled when its time is up.
    package init(
        at place: Lease.Place,
        identity: String,
        times: ElectionTimes = ElectionTimes(),
        time: LeaseTime = .real,
        send: @escaping APISender
    ) {
        self.place = place
        self.send = send
        self.time = time
        claim = LeaderClaim(at: place, identity: identity, times: times)
    }

    /// To be asked before each write. One comparison of times; no request, no waiting.
    package nonisolated var isLeading: Bool { until.withLock { $0 }.map { time.now() < $0 } ?? false }

    /// As it was last told; nil: nothing is known yet.
    package nonisolated var leadership: Leadership? { lastAnswer.withLock { $0 } }

    /// Runs until the task is cancelled, and then gives the Lease back, so that somebody else goes on at once: cancel it when nothing is being done
    /// any more.
    ///
    /// - Parameter onChange: Called for one change after the other; renewing goes on meanwhile. A state that was over before it could be told is left
    ///   out.
    package func run(onChange: @escaping @Sendable (Leadership) async -> Void) async {
        let (changes, tell) = AsyncStream.makeStream(of: Leadership.self, bufferingPolicy: .bufferingNewest(1))
        let telling = Task { for await change in changes { await onChange(change) } }
        while !Task.isCancelled {
            let order = claim.next(now: time.now(), time: ClusterLease.text(time.date()))
            publish(tell)
            switch order {
            case .wait(let pause): await time.sleep(pause)
            case .send(let request, let limit):
                let sent = time.now()
                let outcome = await attempt(request, within: limit)
                claim.take(outcome, of: request, sent: sent, now: time.now())
            }
            publish(tell)
        }
        let release = claim.release(time: ClusterLease.text(time.date()))
        publish(tell)
        tell.finish()
        if let release {
            // Not in this task, in which nothing is sent any more.
            await Task { _ = await attempt(release, within: .seconds(2)) }.value
        }
        await telling.value
    }

    private func publish(_ tell: AsyncStream<Leadership>.Continuation) {
        until.withLock { $0 = claim.leadsUntil }
        guard let now = claim.leadership else { return }
        let isNew = lastAnswer.withLock { last in
            defer { last = now }
            return last != now
        }
        if isNew { tell.yield(now) }
    }

    private nonisolated func attempt(_ request: APIRequest, within limit: Duration) async -> LeaderClaim.Outcome {
        await withTaskGroup(of: LeaderClaim.Outcome?.self) { [send, time] group in
            group.addTask {
                do throws(APIFailure) {
                    return .answer(try await send(request))
                } catch {
                    return .failure(error.message)
                }
            }
            group.addTask {
                await time.sleep(limit)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first ?? .failure("no answer within \(limit.words)")
        }
    }
}
