import KubernetesAPI
import Testing
import Values

struct RequestTests {
    @Test func targetsComeApartAgain() {
        let request = APIRequest.apply("/api/v1/namespaces/a/services/b", body: [:], fieldManager: "plumb", isForced: true, isDryRun: true)
        #expect(request.target == "/api/v1/namespaces/a/services/b?fieldManager=plumb&force=true&fieldValidation=Strict&dryRun=All")
        #expect(APIRequest(.patch, target: request.target).query == request.query)
    }
}
