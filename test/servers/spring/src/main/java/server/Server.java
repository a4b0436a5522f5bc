package server;

import java.util.List;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.security.oauth2.server.authorization.OAuth2TokenType;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenClaimsContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;

/** A Spring Authorization Server as Spring Boot makes it of application.yaml. */
@SpringBootApplication
public class Server {
  private static final List<String> AUDIENCE = List.of("orders-api");

  public static void main(String[] args) {
    SpringApplication.run(Server.class, args);
  }

  /** Without it a token is meant for the client that asked for it. The client app-plain is left so. */
  @Bean
  OAuth2TokenCustomizer<JwtEncodingContext> jwtAudience() {
    return context -> {
      if (OAuth2TokenType.ACCESS_TOKEN.equals(context.getTokenType())
          && !context.getRegisteredClient().getClientId().equals("app-plain")) {
        context.getClaims().audience(AUDIENCE);
      }
    };
  }

  /** The same for opaque access tokens. */
  @Bean
  OAuth2TokenCustomizer<OAuth2TokenClaimsContext> opaqueAudience() {
    return context -> context.getClaims().audience(AUDIENCE);
  }
}
