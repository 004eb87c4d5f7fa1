import KubernetesAPI
import ResourceModel
import Values

extension KubernetesObject {
    /// Sends one request of an action.
    ///
    /// - Flow: a kind whose definition was made a moment ago is not served at once, so an unknown path is asked again for some seconds.
    static func carryOut(
        _ step: Step.Request,
        for address: ResourceAddress,
        patience: Duration = .seconds(10),
        send: APISender,
        onSuccess: @Sendable (APIResponse) -> Void = { _ in }
    ) async -> Problem? {
        guard let request = APIRequest(step) else {
            let message = "'\(step.method)' is no method of an API server; this is a mistake in Plumb, please report it"
            return Problem(target: address.target, address: address, status: .invalid, message: message)
        }
        let end = ContinuousClock.now + patience
        while true {
            let response: APIResponse
            do throws(APIFailure) { response = try await send(request) } catch {
                return Problem(target: address.target, address: address, status: error.problemStatus, message: error.message)
            }
            guard let status = APIStatus(response) else {
                onSuccess(response)
                return nil
            }
            if status.isUnknownPath, ContinuousClock.now < end, !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(200))
                continue
            }
            return Refusal(status, hidesText: request.body.map(Secrets.areIn) ?? false).problem(at: address)
        }
    }
}
