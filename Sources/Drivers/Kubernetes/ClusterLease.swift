package import Foundation
package import KubernetesAPI

/// What a Lease needs of time; tests have their own.
package struct LeaseTime: Sendable {
    /// On a clock that only goes forward and counts while the machine sleeps.
    package var now: @Sendable () -> Duration
    package var date: @Sendable () -> Date
    /// Ends early where the task is cancelled.
    package var sleep: @Sendable (Duration) async -> Void

    package init(
        now: @escaping @Sendable () -> Duration,
        date: @escaping @Sendable () -> Date,
        sleep: @escaping @Sendable (Duration) async -> Void
    ) {
        self.now = now
        self.date = date
        self.sleep = sleep
    }

    package static var real: LeaseTime {
        let start = ContinuousClock.now
        return LeaseTime(now: { .now - start }, date: { Date() }, sleep: { try? await Task.sleep(for: $0) })
    }
}

/// The Lease of one cluster, taken and then renewed until it is released.
///
/// - Guarantees: `objection` speaks before anybody else may take the Lease over, since it counts from when the last renewal was sent, and gives up after
///   two thirds of the duration.
package actor ClusterLease {
    package enum Ending: Sendable {
        case held
        case taken(by: ApplyLease)
        case refused(APIStatus, verb: String)
        case failed(APIFailure)
    }

    private let claim: ApplyLease.Claim
    private let send: APISender
    private let time: LeaseTime
    private var lease: ApplyLease?
    private var renewed = Duration.zero
    private var lost: String?
    /// Why the last attempt to renew it did not succeed.
    private var trouble = ""
    private var renewing: Task<Void, Never>?

    package init(_ claim: ApplyLease.Claim, time: LeaseTime = .real, send: @escaping APISender) {
        self.claim = claim
        self.send = send
        self.time = time
    }

    /// How often in a row somebody else may have been first.
    private static let mostConflicts = 20

    /// - Parameters:
    ///   - patience: How long somebody who is alive is waited for.
    ///   - isDead: Whether the holder of a Lease is known to be gone.
    ///   - isGivenUp: Whether nobody is to be waited for any more.
    ///   - tell: Called once, when the Lease of somebody who has not renewed it lately is being watched.
    package func take(
        patience: Duration,
        isDead: @Sendable (ApplyLease) -> Bool,
        isGivenUp: @Sendable () -> Bool = { false },
        tell: @Sendable (ApplyLease) -> Void
    ) async -> Ending {
        var machine = LeaseClaim(claim, patience: patience, now: time.now())
        var order = machine.first
        var hasTold = false
        var conflicts = 0
        while !Task.isCancelled {
            switch order {
            case .send(let request):
                let sent = time.now()
                do throws(APIFailure) {
                    let response = try await send(request)
                    if response.status == 409, let status = APIStatus(response) {
                        // Of others who are as quick, one gets it each time; a server that always says so has another reason.
                        conflicts += 1
                        if conflicts == Self.mostConflicts { return .refused(status, verb: Self.verb(request.method)) }
                    }
                    let date = time.date()
                    order = machine.take(
                        response,
                        to: request.method,
                        now: time.now(),
                        time: Self.text(date),
                        age: { lease in Self.date(lease.renewed).map { .seconds(date.timeIntervalSince($0)) } },
                        isDead: isDead
                    )
                    if case .refused(let status) = order { return .refused(status, verb: Self.verb(request.method)) }
                    renewed = sent
                } catch {
                    return .failed(error)
                }
            case .watch(let other, let pause):
                if isGivenUp() { return .taken(by: other) }
                if !hasTold { tell(other) }
                hasTold = true
                await time.sleep(pause)
                order = machine.again
            case .held(let own):
                lease = own
                renewing = Task { await self.keepRenewing() }
                return .held
            case .taken(let other): return .taken(by: other)
            case .refused(let status): return .refused(status, verb: "get")
            }
        }
        return .failed(APIFailure(.timedOut, "was interrupted"))
    }

    /// Why nothing new may be started at this cluster; nil: it is still ours.
    package var objection: String? {
        if let lost { return lost }
        guard lease != nil else { return "it is not held" }
        let age = time.now() - renewed
        guard age >= limit else { return nil }
        return "it could not be renewed for \(age.components.seconds) s\(trouble.isEmpty ? "" : " (\(trouble))")"
    }

    /// Gives it back. Where that fails it ends by itself.
    package func release() async {
        renewing?.cancel()
        await renewing?.value
        renewing = nil
        guard lost == nil else { return }
        // Twice, for a renewal that was just under way may have got through.
        for _ in 0..<2 {
            guard let lease, let response = try? await send(lease.release(now: Self.text(time.date()))), response.status == 409 else { break }
            _ = await readAgain()
            if lost != nil { break }
        }
        lease = nil
    }

    private var limit: Duration { .seconds(claim.duration) * 2 / 3 }

    private func keepRenewing() async {
        var pause = Duration.seconds(claim.duration) / 3
        while true {
            await time.sleep(pause)
            guard !Task.isCancelled, lost == nil else { return }
            pause = await renew() ? .seconds(claim.duration) / 3 : .seconds(1)
        }
    }

    private func renew() async -> Bool {
        guard let lease else { return false }
        let sent = time.now()
        do throws(APIFailure) {
            let response = try await send(lease.renew(claim, now: Self.text(time.date())))
            guard let status = APIStatus(response) else { return succeed(response, sent) }
            trouble = status.description
            guard status.code == 409 || status.code == 404 else { return false }
        } catch {
            // It may have got through all the same; then the next attempt meets a newer version.
            trouble = error.message
            return false
        }
        return await readAgain()
    }

    /// Somebody wrote it in between: an earlier attempt of ours whose answer was lost, somebody who changed a label, or another holder.
    private func readAgain() async -> Bool {
        guard let response = try? await send(ApplyLease.read) else { return false }
        guard APIStatus(response) == nil else {
            if response.status == 404 { lost = "it was deleted by somebody" }
            return false
        }
        let other = ApplyLease(response.body)
        guard other.holder == claim.holder else {
            lost = other.holder.isEmpty ? "somebody has taken it away" : "\(other.holder) has taken it over"
            return false
        }
        lease = other
        return false
    }

    private func succeed(_ response: APIResponse, _ sent: Duration) -> Bool {
        lease = ApplyLease(response.body)
        renewed = sent
        trouble = ""
        return true
    }

    private static func verb(_ method: APIRequest.Method) -> String {
        switch method {
        case .get: "get"
        case .post: "create"
        default: "update"
        }
    }

    private static let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    /// `2026-11-25T14:01:12.345000Z`
    static func text(_ date: Date) -> String {
        let text = date.formatted(style)
        return text.hasSuffix("Z") ? "\(text.dropLast())000Z" : text
    }

    static func date(_ text: String) -> Date? {
        // Of the fraction, three digits are enough, and all that is understood.
        guard let point = text.firstIndex(of: ".") else { return try? Date(text, strategy: .iso8601) }
        let digits = text[text.index(after: point)...].prefix { $0.isNumber }
        guard text.hasSuffix("Z") else { return nil }
        let fraction = (String(digits.prefix(3)) + "000").prefix(3)
        return try? Date("\(text[..<point]).\(fraction)Z", strategy: style)
    }
}
