internal import SSH

/// The decisions of one change that is taken back unless it is confirmed: what was learnt goes in, what to do next comes out.
/// A value without clock or connection.
///
/// - Flow: arm → change → look at it over a new connection → confirm. Where a step fails or the result is not as declared, undo at once;
///   where nobody answers, let the host undo it by itself and wait for that.
/// - Guarantees: nothing is changed before the host has said that the undo is armed; after it is confirmed or given up nothing more is done;
///   it ends at the latest one answer after `lastWait`.
package struct CommitConfirmed: Sendable {
    package enum Order: Hashable, Sendable {
        case arm
        case change
        /// Connect anew and compare with what is declared.
        case look
        case confirm
        case revert
        /// See whether the undo is still armed.
        case await
        case end(Ending)
    }

    package enum Report: Hashable, Sendable {
        case armed
        case notArmed(Refusal)
        case changed
        case stepFailed(String)
        case asDeclared
        case differs(String)
        /// The change is still being made.
        case changing
        case confirmed
        /// The undo is not pending any more: it was run, it is running, or an earlier confirmation got through and its answer did not.
        case over
        case undone
        case undoBroken(String)
        case stillArmed
        /// No answer.
        case lost(String)
    }

    package enum Ending: Hashable, Sendable {
        case confirmed
        /// Nothing was changed.
        case refused(Refusal)
        /// The undo is not armed any more, and was not confirmed as far as we know. What the host looks like now decides.
        case undone(String)
        case undoBroken(String, said: String)
        /// The host could not be asked, or still had the undo armed; by when it was to have run it, on the clock that `take` was told.
        case unknown(String, undoneBy: Duration)
    }

    /// Why nothing was begun.
    package enum Refusal: Hashable, Sendable {
        case failure(HostFailure)
        /// `sudo`, or the host's shell, said something else than what arming says.
        case unexpected(CommandResult)
        /// The host said why.
        case reason(String)
    }

    private enum State: Hashable {
        case arming
        case changing
        case looking
        case confirming
        case reverting
        case awaiting
        case ended
    }

    /// How long the change and its confirmation may take together.
    package let timeout: Duration
    /// Seconds after arming when the host undoes it: later than we give up, so that what was done in time also counts.
    package var fuse: Int { Self.fuse(timeout) }
    private var state = State.arming
    private var armedAt = Duration.zero
    private var answerWasLost = false
    private var why = ""

    package init(timeout: Duration) {
        self.timeout = timeout
    }

    package static func fuse(_ timeout: Duration) -> Int {
        let seconds = Int(timeout.components.seconds) + (timeout.components.attoseconds > 0 ? 1 : 0)
        return seconds + max(2, seconds / 10)
    }

    /// Nothing is confirmed after this.
    package var deadline: Duration { armedAt + timeout }

    /// The host has undone it by then, if it could.
    package var undoneBy: Duration { armedAt + .seconds(fuse + 1) }

    /// How long we ask whether it has: as long as the host was given to be reachable after the change.
    package var lastWait: Duration { undoneBy + timeout + .seconds(5) }

    /// The first order.
    package var start: Order { .arm }

    package mutating func take(_ report: Report, at now: Duration) -> Order {
        switch (state, report) {
        case (.arming, .armed):
            armedAt = now
            return go(.changing, .change)
        case (.arming, .notArmed(let refusal)): return go(.ended, .end(.refused(refusal)))
        case (.arming, .lost(let message)): return go(.ended, .end(.refused(.failure(HostFailure(.unreachable, message)))))

        case (.changing, .changed): return go(.looking, .look)
        case (.changing, .stepFailed(let message)): return revert(message)
        case (.changing, .lost):
            answerWasLost = true
            return go(.looking, .look)

        case (.looking, .asDeclared): return go(.confirming, .confirm)
        case (.looking, .differs(let message)):
            // An answer as late as this is mostly that of a host that has undone it.
            guard now < deadline else { return revert("not confirmed within \(timeout.inWords)") }
            // Without its answer the change may still be under way.
            return answerWasLost ? .look : revert(message)
        case (.looking, .lost(let message)): return lookAgain(message, now)

        case (.confirming, .confirmed): return go(.ended, .end(.confirmed))
        case (.confirming, .changing): return lookAgain("the change did not end", now)
        case (.confirming, .lost(let message)): return lookAgain(message, now)

        case (.reverting, .undone): return go(.ended, .end(.undone(why)))
        case (.reverting, .undoBroken(let said)): return go(.ended, .end(.undoBroken(why, said: said)))
        case (.reverting, .lost): return go(.awaiting, .await)

        case (.awaiting, .undone): return go(.ended, .end(.undone(why)))
        case (.awaiting, .undoBroken(let said)): return go(.ended, .end(.undoBroken(why, said: said)))
        case (.awaiting, .stillArmed), (.awaiting, .lost): return now < lastWait ? .await : go(.ended, .end(.unknown(why, undoneBy: undoneBy)))

        case (.changing, .over), (.confirming, .over), (.reverting, .over):
            if why.isEmpty { why = "the host undid it before it was confirmed" }
            return go(.awaiting, .await)
        case (.ended, _): return .end(.unknown("it has ended already", undoneBy: undoneBy))
        default:
            // An answer that does not belong to the question: what it means is not known, so the host decides.
            if why.isEmpty { why = "the host gave an answer that makes no sense" }
            return state == .arming ? go(.ended, .end(.refused(.reason(why)))) : go(.awaiting, .await)
        }
    }

    private mutating func go(_ state: State, _ order: Order) -> Order {
        self.state = state
        return order
    }

    private mutating func revert(_ message: String) -> Order {
        why = message
        return go(.reverting, .revert)
    }

    private mutating func lookAgain(_ message: String, _ now: Duration) -> Order {
        guard now >= deadline else { return go(.looking, .look) }
        why = "not confirmed within \(timeout.inWords) (\(message))"
        return go(.awaiting, .await)
    }
}
