import Controller
import Forge
import Testing

/// What is reported on when, as data.
@Suite struct PullRequestAgendaTests {
    private static func request(_ number: Int, _ head: Int, by author: String? = "eve", mayWrite: Bool = false) -> PullRequest {
        PullRequest(
            number: number,
            author: author,
            authorMayWrite: mayWrite,
            isFork: !mayWrite,
            headCommit: String(repeating: "\(head % 10)", count: 39) + "a",
            headRef: "feature",
            baseRef: "main",
            isPublic: false,
            isOpen: true
        )
    }

    private func agenda(_ change: (inout PullRequestAgenda.Limits) -> Void = { _ in }) -> PullRequestAgenda {
        var limits = PullRequestAgenda.Limits()
        change(&limits)
        return PullRequestAgenda(limits: limits)
    }

    @Test func equalRequestsAreOneAtTheEarliestTime() {
        var agenda = agenda()
        agenda.request(1, because: "drift", at: .seconds(10), after: .seconds(5))
        agenda.request(1, because: "updated", at: .seconds(11))
        agenda.request(1, because: "updated", at: .seconds(12), after: .seconds(60))
        agenda.request(2, because: "drift", at: .seconds(10), after: .seconds(5))
        #expect(agenda.nextDue == .seconds(11))
        #expect(agenda.takeDue(at: .seconds(10)).isEmpty)
        #expect(agenda.takeDue(at: .seconds(11)) == [1: ["drift", "updated"]])
        #expect(agenda.nextDue == .seconds(15))
    }

    @Test func oneIsNotDoneTwiceAtATimeAndWhatComesMeanwhileIsDoneAfterwards() {
        var agenda = agenda()
        agenda.request(1, because: "opened", at: .zero)
        #expect(agenda.takeDue(at: .zero) == [1: ["opened"]])
        agenda.request(1, because: "updated", at: .seconds(1))
        #expect(agenda.takeDue(at: .seconds(1)).isEmpty && agenda.nextDue == nil)
        agenda.finish(1, .done, at: .seconds(2), chance: 0)
        #expect(agenda.takeDue(at: .seconds(2)) == [1: ["updated"]])
        agenda.finish(1, .done, at: .seconds(3), chance: 0)
        #expect(agenda.nextDue == nil && agenda.open == [1])
    }

    @Test func whatIsClosedAndOpenedAgainWaitsForWhatIsUnderWay() {
        var agenda = agenda()
        agenda.request(1, because: "opened", at: .zero)
        _ = agenda.takeDue(at: .zero)
        agenda.forget(1)
        #expect(agenda.open == [])
        // Nothing but its own opening opens it.
        agenda.requestAll(because: "base", at: .seconds(1))
        agenda.requestAll(because: "poll", at: .seconds(1), notTakenSince: .seconds(1))
        #expect(agenda.nextDue == nil && agenda.open == [])
        agenda.request(1, because: "reopened", at: .seconds(2))
        #expect(agenda.open == [1] && agenda.takeDue(at: .seconds(2)).isEmpty)
        // What was found is that it was closed, which is true no more.
        agenda.finish(1, .gone, at: .seconds(3), chance: 0)
        #expect(agenda.takeDue(at: .seconds(3)) == [1: ["reopened"]])
        // Closed for good: what is under way leaves nothing behind, however it ends.
        agenda.forget(1)
        agenda.finish(1, .failed(retryAfter: nil), at: .seconds(4), chance: 0)
        agenda.requestAll(because: "base", at: .seconds(5))
        #expect(agenda.open == [] && agenda.nextDue == nil)
    }

    @Test func whatMovesForAllIsAskedForOfAllTogether() {
        var agenda = agenda()
        agenda.take(list: Array(1...50), askedAt: .zero)
        agenda.requestAll(because: "base", at: .seconds(1))
        #expect(agenda.takeDue(at: .seconds(1)).count == 50)
    }

    @Test func aPollLeavesOutWhatWasTakenWhileItAsked() {
        var agenda = agenda()
        agenda.take(list: [1, 2, 3], askedAt: .zero)
        agenda.request(1, because: "updated", at: .seconds(1))
        _ = agenda.takeDue(at: .seconds(1))
        agenda.request(2, because: "updated", at: .seconds(3))
        _ = agenda.takeDue(at: .seconds(3))
        agenda.finish(2, .done, at: .seconds(4), chance: 0)
        agenda.requestAll(because: "poll", at: .seconds(5), notTakenSince: .seconds(2))
        #expect(agenda.takeDue(at: .seconds(5)) == [3: ["poll"]])
        // What was taken before it asked is done again afterwards.
        agenda.finish(1, .done, at: .seconds(6), chance: 0)
        #expect(agenda.takeDue(at: .seconds(6)) == [1: ["poll"]])
    }

    // MARK: What is open

    @Test func aListForgetsWhatIsClosedAndKeepsWhatCameSince() {
        var agenda = agenda()
        agenda.request(1, because: "opened", at: .seconds(1))
        agenda.request(2, because: "opened", at: .seconds(1))
        _ = agenda.takeDue(at: .seconds(1))
        agenda.finish(1, .done, at: .seconds(2), chance: 0)
        // The list was asked for at 3 s; 4 was opened at 4 s, and 2 is still under way.
        agenda.request(4, because: "opened", at: .seconds(4))
        agenda.take(list: [3], askedAt: .seconds(3))
        #expect(agenda.open == [2, 3, 4])
    }

    @Test func whatIsClosedIsNotTriedAgain() {
        var agenda = agenda()
        agenda.request(1, because: "opened", at: .zero)
        _ = agenda.takeDue(at: .zero)
        agenda.forget(1)
        agenda.finish(1, .failed(retryAfter: nil), at: .seconds(1), chance: 0)
        #expect(agenda.open.isEmpty && agenda.nextDue == nil)
        agenda.request(2, because: "opened", at: .zero)
        _ = agenda.takeDue(at: .zero)
        agenda.finish(2, .gone, at: .seconds(1), chance: 0)
        #expect(agenda.open.isEmpty)
        // Opened again while it was found closed.
        agenda.request(3, because: "opened", at: .zero)
        _ = agenda.takeDue(at: .zero)
        agenda.request(3, because: "reopened", at: .seconds(1))
        agenda.finish(3, .gone, at: .seconds(1), chance: 0)
        #expect(agenda.takeDue(at: .seconds(1)) == [3: ["reopened"]])
    }

    @Test func noMoreAreKnownThanTheLimit() {
        var agenda = agenda { ($0.mostOpen, $0.batch) = (3, 2) }
        for number in 1...5 { agenda.request(number, because: "opened", at: .seconds(number)) }
        agenda.take(list: Array(1...10), askedAt: .zero)
        #expect(agenda.open == [1, 2, 3])
        #expect(agenda.takeDue(at: .seconds(9)).keys.sorted() == [1, 2])
        #expect(agenda.takeDue(at: .seconds(9)).keys.sorted() == [3])
    }

    // MARK: Failures

    @Test func failuresAreTriedAgainLaterAndLater() {
        var agenda = agenda()
        agenda.request(1, because: "opened", at: .zero)
        var delays: [Duration] = []
        var now = Duration.zero
        for _ in 0..<14 {
            #expect(agenda.takeDue(at: now).count == 1)
            delays.append(agenda.finish(1, .failed(retryAfter: nil), at: now, chance: 0) ?? .zero)
            now = agenda.nextDue ?? now
        }
        #expect(delays.prefix(4) == [.seconds(1), .seconds(2), .seconds(4), .seconds(8)] && delays.last == .seconds(600))
        #expect(agenda.failing == [1] && agenda.failures(of: 1) == 14)
        // New commits may do better at once, and what went well is forgotten.
        agenda.request(1, because: "updated", at: now - .seconds(300))
        #expect(agenda.takeDue(at: now - .seconds(300)) == [1: ["retry", "updated"]])
        agenda.finish(1, .done, at: now, chance: 0)
        #expect(agenda.failing.isEmpty && agenda.nextDue == nil)
    }

    @Test func silenceThatTheForgeAsksForIsKept() {
        var agenda = agenda()
        agenda.request(1, because: "opened", at: .zero)
        _ = agenda.takeDue(at: .zero)
        let delay = agenda.finish(1, .failed(retryAfter: .seconds(90)), at: .zero, chance: 1)
        #expect(delay == .seconds(90))
        agenda.request(1, because: "updated", at: .seconds(10))
        #expect(agenda.nextDue == .seconds(90))
    }

    // MARK: Plans of one author

    @Test func whoMayNotWriteHasSoManyPlansAnHour() {
        var agenda = agenda { $0.plansPerAuthor = 3 }
        for number in 1...5 { agenda.request(number, because: "opened", at: .zero) }
        let verdicts = (1...5).map { agenda.verdict(on: Self.request($0, $0), at: .seconds(60 * $0)) }
        #expect(verdicts == [.plan, .plan, .plan, .wait(until: .seconds(3660)), .wait(until: .seconds(3660))])
        // Others have theirs, and who may write has no limit.
        #expect(agenda.verdict(on: Self.request(5, 5, by: "mallory"), at: .seconds(300)) == .plan)
        for number in 1...5 { #expect(agenda.verdict(on: Self.request(number, 9, by: "ann", mayWrite: true), at: .seconds(300)) == .plan) }
        // The window slides.
        #expect(agenda.verdict(on: Self.request(4, 4), at: .seconds(3660)) == .plan)
        #expect(agenda.verdict(on: Self.request(5, 6), at: .seconds(3661)) == .wait(until: .seconds(3720)))
    }

    @Test func theSameHeadAgainIsNotItsAuthorsDoing() {
        var agenda = agenda { $0.plansPerAuthor = 1 }
        agenda.request(1, because: "opened", at: .zero)
        #expect(agenda.verdict(on: Self.request(1, 1), at: .zero) == .plan)
        for second in 1...20 { #expect(agenda.verdict(on: Self.request(1, 1), at: .seconds(second)) == .plan, "the base moved") }
        #expect(agenda.verdict(on: Self.request(1, 2), at: .seconds(30)) == .wait(until: .seconds(3600)))
        // Another spelling of the name is no other author, and neither is another request or an account that is gone.
        agenda.request(2, because: "opened", at: .seconds(30))
        #expect(agenda.verdict(on: Self.request(2, 3, by: "EVE"), at: .seconds(30)) == .wait(until: .seconds(3600)))
        agenda.request(3, because: "opened", at: .seconds(30))
        agenda.request(4, because: "opened", at: .seconds(30))
        #expect(agenda.verdict(on: Self.request(3, 3, by: nil), at: .seconds(30)) == .plan)
        #expect(agenda.verdict(on: Self.request(4, 3, by: nil), at: .seconds(30)) == .wait(until: .seconds(3630)))
    }

    @Test func whoClosesAndOpensItAgainStartsNoNewCount() {
        var agenda = agenda { $0.plansPerAuthor = 2 }
        var planned = 0
        for round in 0..<10 {
            agenda.request(1, because: "reopened", at: .seconds(round))
            if agenda.verdict(on: Self.request(1, 1), at: .seconds(round)) == .plan { planned += 1 }
            agenda.forget(1)
        }
        #expect(planned == 2)
    }

    @Test func whoHasHadEnoughIsPlannedThenAndLookedAtNowAndThen() {
        var agenda = agenda()
        agenda.request(1, because: "opened", at: .zero)
        _ = agenda.takeDue(at: .zero)
        agenda.finish(1, .waits(until: .seconds(1000)), at: .zero, chance: 0)
        #expect(agenda.nextDue == .seconds(1000))
        // A flood of new heads leads to a look each half a minute.
        var looks = 0
        for second in 1...120 {
            agenda.request(1, because: "updated", at: .seconds(second))
            if !agenda.takeDue(at: .seconds(second)).isEmpty {
                looks += 1
                agenda.finish(1, .waits(until: .seconds(1000)), at: .seconds(second), chance: 0)
            }
        }
        #expect(looks == 4)
        #expect(agenda.takeDue(at: .seconds(1000)).count == 1)
        agenda.finish(1, .done, at: .seconds(1000), chance: 0)
        #expect(agenda.nextDue == nil)
    }

    /// What something else scales up and down all day is told once a minute, and what is new at once.
    @Test func whatGoesBackAndForthIsToldNowAndThen() {
        var agenda = PullRequestAgenda()
        agenda.request(1, because: "opened", at: .zero)
        func taken(at second: Int) -> [String]? {
            defer { agenda.finish(1, .done, at: .seconds(second), chance: 0) }
            return agenda.takeDue(at: .seconds(second))[1]
        }
        #expect(taken(at: 0) == ["opened"])
        var looks: [Int] = []
        for second in stride(from: 10, to: 600, by: 10) {
            agenda.requestAll(because: PullRequestAgenda.drift, at: .seconds(second))
            if taken(at: second) != nil { looks.append(second) }
        }
        #expect(looks == [10, 20, 30, 40, 50, 110, 170, 230, 290, 350, 410, 470, 530, 590])
        // A new head does not wait for that.
        agenda.requestAll(because: PullRequestAgenda.drift, at: .seconds(600))
        #expect(taken(at: 600) == nil)
        agenda.request(1, because: "updated", at: .seconds(601))
        #expect(taken(at: 601) == ["drift", "updated"])
        // After a quiet time it is told at once again.
        agenda.requestAll(because: PullRequestAgenda.drift, at: .seconds(1400))
        #expect(taken(at: 1400) == ["drift"])
    }
}
