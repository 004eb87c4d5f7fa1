package import Forge
import Foundation
package import Logging
import Planning
import ResourceModel

/// Keeps the one issue about what is only reported, beside the controller: it holds nothing up, and nothing is dropped.
package actor DriftIssueKeeper {
    private let controller: Controller
    private let metrics: Metrics
    private let log: Logger
    private var pace: DriftIssuePace
    private var said: ReportedDrift?
    private var lastSaid: Date?
    private var problem: (message: String, since: Date)?
    private let post: @Sendable (ReportedDrift) async -> Result<String, ForgeFailure>

    /// - Parameter post: Says it at the forge; what was done comes back, for a person.
    package init(
        controller: Controller,
        metrics: Metrics,
        log: Logger,
        pace: DriftIssuePace = DriftIssuePace(),
        post: @escaping @Sendable (ReportedDrift) async -> Result<String, ForgeFailure>
    ) {
        self.controller = controller
        self.metrics = metrics
        self.log = log
        self.pace = pace
        self.post = post
    }

    /// Runs until it is cancelled.
    package func run() async {
        let start = ContinuousClock.now
        for await _ in await controller.reportedDriftChanges() {
            pace.changed(at: start.duration(to: .now))
            while let due = pace.due {
                let wait = due - start.duration(to: .now)
                if wait > .zero { try? await Task.sleep(for: wait) }
                if Task.isCancelled { return }
                // What is so by now: what came back meanwhile is never said.
                guard let drift = await controller.reportedDrift(), drift != said else {
                    pace.isUpToDate()
                    note(nil)
                    break
                }
                switch await post(drift) {
                case .success(let words):
                    (said, lastSaid) = (drift, Date())
                    note(nil)
                    pace.said(at: start.duration(to: .now))
                    metrics.increment(.driftIssue, ["outcome": "posted"])
                    log.info("drift is reported: \(words)", metadata: ["differences": "\(drift.actions.count)"])
                case .failure(let error):
                    if Task.isCancelled { return }
                    // What of it came through is not known.
                    said = nil
                    pace.failed(at: start.duration(to: .now), retryAfter: error.retryAfter, chance: .random(in: 0...1))
                    metrics.increment(.driftIssue, ["outcome": "failed"])
                    let message = error.fix.map { "\(error.message). \($0)" } ?? error.message
                    if message != problem?.message {
                        let found = drift.actions.map(\.address.description).prefix(20).joined(separator: ", ")
                        log.warning("drift could not be reported, and it is tried again: \(message)", metadata: ["differs": "\(found)"])
                    }
                    note(message)
                }
            }
        }
    }

    private func note(_ message: String?) {
        problem = message.map { ($0, problem?.since ?? Date()) }
        metrics.set(.driftIssueIsStale, to: problem == nil ? 0 : 1)
    }

    package func status() -> ControllerStatus.DriftIssueStatus {
        .init(differences: said?.actions.count, lastSaid: lastSaid, problem: problem?.message, problemSince: problem?.since)
    }
}

/// When the issue is written: what changes together is said together, and never more often than once in a while. A value; the time comes in, counted from
/// any fixed point.
package struct DriftIssuePace: Sendable {
    /// After the first change, for what comes with it.
    private let gathering: Duration
    /// From one text to the next.
    private let between: Duration
    private let firstDelay: Duration
    private let longestDelay: Duration

    /// When it is to be written next; nil: there is nothing to say.
    package private(set) var due: Duration?
    private var lastSaid: Duration?
    private var failures = 0

    package init(
        gathering: Duration = .seconds(5),
        between: Duration = .seconds(60),
        firstDelay: Duration = .seconds(5),
        longestDelay: Duration = .seconds(900)
    ) {
        self.gathering = gathering
        self.between = between
        self.firstDelay = firstDelay
        self.longestDelay = longestDelay
    }

    package mutating func changed(at now: Duration) {
        // One that waits takes it along, and one that failed is not tried sooner.
        guard due == nil else { return }
        due = max(now + gathering, lastSaid.map { $0 + between } ?? .zero)
    }

    package mutating func said(at now: Duration) {
        (due, lastSaid, failures) = (nil, now, 0)
    }

    package mutating func isUpToDate() { (due, failures) = (nil, 0) }

    /// - Parameters:
    ///   - retryAfter: What the forge has asked for; never less.
    ///   - chance: From 0 to 1, so that many don't come at the same time.
    package mutating func failed(at now: Duration, retryAfter: Duration?, chance: Double) {
        let delay = min(longestDelay, firstDelay * Double(1 << min(failures, 20)))
        failures += 1
        due = now + max(retryAfter ?? .zero, delay * (0.5 + chance / 2))
    }
}

extension Metrics.Metric {
    static let driftIssue = Self("plumb_drift_issue_total", .counter, "Times the issue about drift was to be written, by outcome: posted, failed.")
    static let driftIssueIsStale = Self("plumb_drift_issue_stale", .gauge, "Whether the issue about drift could not be written last.")
}
